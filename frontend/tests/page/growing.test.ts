import fc from "fast-check";
import { expect, test } from "vitest";
import { type Growing, grow, NOTHING } from "../../src/page/markdown/growing.ts";
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

test("a closed block is never read again", () => {
  const first = grow(NOTHING, "# Head\n\nOne.\n\nTwo");
  expect(first.closed).toHaveLength(1);
  const second = grow(first.growing, "# Head\n\nOne.\n\nTwo\n");
  expect(second.closed).toHaveLength(1);
  expect(second.growing.text.slice(second.growing.settled)).toBe("Two\n");
});
