import fc from "fast-check";
import { expect, test } from "vitest";
import { type Growing, grow, NOTHING, PART } from "../../src/page/markdown/growing.ts";
import type { Node } from "../../src/page/markdown/node.ts";
import { parse } from "../../src/page/markdown/parse.ts";

/** Everything that Markdown takes for a sign, and words between. */
const pieces = fc.constantFrom(
  ..."\n \n\n    \t - + * 1. 2) > # ### === --- ``` ~~~ | |- [x] ( ) ! <b> & &amp; \\ _ ** ` a word Zwei 三 http://a.b/c".split(
    " ",
  ),
  " ",
  "  ",
  "\r\n",
  "\r",
  "\n\n",
  "\n    ",
  "\n- ",
  "\n1. ",
  "\n> ",
  "\n```js\n",
  "\n| a | b |\n|---|:-:|\n| 1 | 2 |\n",
  "[x]: http://a.b",
  "[x][x]",
);
const texts = fc.array(pieces, { maxLength: 40 }).map((all) => all.join(""));
const cuts = fc.array(fc.nat({ max: 400 }), { maxLength: 30 });

/** Feed a text in the chunks that `at` cuts it into; return all that stands in the end. */
function fed(text: string, at: readonly number[]): Node[] {
  const ends = [...at.filter((end) => end < text.length).sort((a, b) => a - b), text.length];
  let growing: Growing = NOTHING;
  const closed: Node[] = [];
  let open: readonly Node[] = [];
  for (const end of ends) {
    const grown = grow(growing, text.slice(0, end));
    growing = grown.growing;
    closed.push(...grown.closed);
    open = grown.open;
  }
  return [...closed, ...open];
}

test("however a text is cut, the same stands in the end", () => {
  fc.assert(
    fc.property(texts, cuts, (text, at) => {
      const whole = parse(text).map(({ node }) => node);
      expect(fed(text, at)).toEqual(whole);
    }),
    { numRuns: 3_000 },
  );
});

test("character by character, too", () => {
  fc.assert(
    fc.property(texts, (text) => {
      const whole = parse(text).map(({ node }) => node);
      expect(
        fed(
          text,
          [...text].map((_, at) => at),
        ),
      ).toEqual(whole);
    }),
    { numRuns: 300 },
  );
});

/** What a paragraph may hold, and what may turn it into something else. */
const words = fc.constantFrom(
  ..."word Zwei 三 _under_ snake_case *em **strong** ** * 5 `code` ` `` [1] [open shut](http://x.y) [a](http://b.c/d) [b]( [ ]( ) ] ![i](http://x.y) ~~gone~~ ~~ ~ <http://a.b> < &amp; \\* \\ http://a.b/c_d ! \n === --- - # 1. a|b |-|-| \r".split(
    " ",
  ),
  "\n",
  "  \n",
  "\n\n",
  "  ",
);
const paragraphs = fc.array(words, { maxLength: 30 }).map((all) => all.join(" "));

/** The first children of the first block. */
function childrenOf([block]: readonly Node[], count: number): readonly Node[] {
  return typeof block === "object" && block.tag !== "fence" ? block.children.slice(0, count) : [];
}

test("what is kept of a paragraph is what reading all of it again would give, at every step", () => {
  fc.assert(
    fc.property(paragraphs, fc.nat({ max: 12 }), fc.integer({ min: 1, max: 7 }), (text, part, step) => {
      let growing: Growing = NOTHING;
      let before: readonly Node[] = [];
      for (let end = step; end < text.length + step; end += step) {
        const grown = grow(growing, text.slice(0, end), part);
        growing = grown.growing;
        const whole = parse(text.slice(growing.settled, end)).map(({ node }) => node);
        expect(grown.open).toEqual(whole);
        expect(childrenOf(grown.open, grown.kept)).toEqual(childrenOf(before, grown.kept));
        before = grown.open;
      }
    }),
    { numRuns: 3_000 },
  );
});

test.each([
  ["plain", "word "],
  ["marked", "a *b* **c** `d_e` [f](http://g.h) snake_case [1] "],
])("of a %s paragraph of 30,000 characters a step reads a bounded part", (_, unit) => {
  const text = unit.repeat(Math.ceil(30_000 / unit.length));
  let growing: Growing = NOTHING;
  const reads: number[] = [];
  for (let end = 20; end <= text.length; end += 20) {
    const grown = grow(growing, text.slice(0, end));
    growing = grown.growing;
    reads.push(grown.read);
  }
  expect(Math.max(...reads)).toBeLessThanOrEqual(4 * PART);
  expect(growing.begun?.end).toBeGreaterThan(text.length - 2 * PART);
});

test("a closed block is never read again", () => {
  const first = grow(NOTHING, "# Head\n\nOne.\n\nTwo");
  expect(first.closed).toHaveLength(1);
  const second = grow(first.growing, "# Head\n\nOne.\n\nTwo\n");
  expect(second.closed).toHaveLength(1);
  expect(second.growing.text.slice(second.growing.settled)).toBe("Two\n");
});
