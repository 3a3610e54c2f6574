import { describe, expect, test } from "vitest";
import { highlight } from "../../src/page/markdown/highlight.ts";
import { type Node, textIn } from "../../src/page/markdown/node.ts";
import { parse } from "../../src/page/markdown/parse.ts";

function nodes(text: string): Node[] {
  return parse(text).map(({ node }) => node);
}

/** Every element in `within`, in order. */
function elements(within: readonly Node[]): Exclude<Node, string>[] {
  return within.flatMap((node) => {
    if (typeof node === "string") return [];
    return node.tag === "fence" ? [node] : [node, ...elements(node.children)];
  });
}

function tags(text: string): string {
  return elements(nodes(text))
    .map(({ tag }) => tag)
    .join(" ");
}

describe("Markdown", () => {
  test.each([
    ["plain", "p"],
    ["# One\n\n### Three", "h3 h5"],
    ["*a* **b** ~~c~~ `d`", "p em strong s code"],
    ["- a\n- b\n  1. c", "ul li li ol li"],
    ["> a\n>\n> b", "blockquote p p"],
    ["a\nb", "p br"],
    ["***", "hr"],
    ["| a | b |\n|--|:-:|\n| 1 | 2 |", "div table thead tr th th tbody tr td td"],
    ["```js\nlet a;\n```", "fence"],
  ])("%j", (text, expected) => {
    expect(tags(text)).toBe(expected);
  });

  test("a fence knows its language, its text, and whether it was closed", () => {
    expect(nodes("```py x\na\n\nb\n```")).toEqual([
      { tag: "fence", language: "py", text: "a\n\nb\n", isClosed: true },
    ]);
    expect(nodes("```\na\nb")).toEqual([{ tag: "fence", language: "", text: "a\nb", isClosed: false }]);
  });

  test("a list begins with its number, and tasks have boxes", () => {
    expect(elements(nodes("3. a"))[0]).toMatchObject({ tag: "ol", attributes: { start: "3" } });
    expect(textIn(nodes("- [ ] a\n- [x] b"))).toBe("☐ a☑ b");
  });
});

describe("what a model writes can do no harm", () => {
  const ADDRESS = { rel: "noopener noreferrer nofollow", target: "_blank" };

  test("HTML is text", () => {
    const html = "<script>alert(1)</script> <img src=x onerror=alert(2)> <b onclick=alert(3)>b</b>";
    expect(nodes(html)).toEqual([{ tag: "p", children: [html] }]);
    expect(tags(`<div>\n${html}\n</div>`)).toBe("p br br");
  });

  test("links open elsewhere and tell nothing", () => {
    expect(elements(nodes("[x](https://a.b/c)"))[1]).toMatchObject({
      attributes: { href: "https://a.b/c", ...ADDRESS },
    });
    expect(elements(nodes("see https://a.b/c"))[1]).toMatchObject({ tag: "a", attributes: ADDRESS });
  });

  test.each([
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](data:text/html,<script>)",
    "[x](vbscript:x)",
    "[x](blob:https://a.b/c)",
    "[x](file:///etc/passwd)",
    "[x](/v1/responses/resp_1/cancel)",
    "[x](#/c/1)",
    "<javascript:alert(1)>",
    "![x](data:image/png;base64,AAAA)",
  ])("%s is no link", (text) => {
    expect(tags(text).split(" ")).not.toContain("a");
  });

  test("an image is a link to itself with its name, never loaded", () => {
    const [, link, name] = elements(nodes("![who reads this](https://evil.example/beacon.png)"));
    expect(link).toMatchObject({
      tag: "a",
      attributes: { href: "https://evil.example/beacon.png", ...ADDRESS },
    });
    expect(name).toMatchObject({ tag: "span", children: ["who reads this"] });
  });

  test("every attribute is one of a fixed list", () => {
    const text =
      '[x](https://a.b "t") ![y](https://c.d "t")\n\n| a |\n|:-:|\n| 1 |\n\n7. x\n\n<p style="x" onload="y">';
    const names = new Set(
      elements(nodes(text)).flatMap((node) => Object.keys(("attributes" in node && node.attributes) || {})),
    );
    expect([...names].sort()).toEqual(["class", "href", "rel", "start", "tabindex", "target"]);
  });
});

describe("colours", () => {
  test("name parts of the code and change none of it", () => {
    const code = "def f(x):\n    return '<b>'  # why\n";
    const coloured = highlight("python", code) as Node[];
    expect(textIn(coloured)).toBe(code);
    expect(elements(coloured).map((node) => "attributes" in node && node.attributes?.class)).toContain(
      "hljs-keyword",
    );
  });

  test("a language that is not known has none", () => {
    expect(highlight("klingon", "x")).toBeUndefined();
    expect(highlight("constructor", "x")).toBeUndefined();
  });
});
