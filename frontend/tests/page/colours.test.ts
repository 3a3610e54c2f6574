import { expect, test } from "vitest";
import { Colours, type Load } from "../../src/page/colours.ts";
import type { Highlight } from "../../src/page/markdown/ink.ts";

const HIGHLIGHT: Highlight = (_, code) => [code];

/** Colours whose loads end as the list says, one after another. */
function loading(...endings: (Error | undefined)[]) {
  const counts = { loads: 0, loaded: 0 };
  const load: Load = async () => {
    const error = endings[counts.loads];
    counts.loads += 1;
    if (error !== undefined) throw error;
    return { highlight: HIGHLIGHT };
  };
  const colours = new Colours(load, () => {
    counts.loaded += 1;
  });
  return { colours, counts };
}

test("colours are loaded once, however often they are needed", async () => {
  const { colours, counts } = loading();
  expect([colours.highlight, counts.loads]).toEqual([undefined, 0]);
  await Promise.all([colours.need(), colours.need()]);
  await colours.need();
  expect([colours.highlight, counts]).toEqual([HIGHLIGHT, { loads: 1, loaded: 1 }]);
});

test("who needs them after they could not be had tries again", async () => {
  const { colours, counts } = loading(new TypeError("Failed to fetch"));
  await colours.need();
  expect([colours.highlight, counts]).toEqual([undefined, { loads: 1, loaded: 0 }]);
  await colours.need();
  expect([colours.highlight, counts]).toEqual([HIGHLIGHT, { loads: 2, loaded: 1 }]);
});

test("a fault in what was loaded is not taken for a lost connection", async () => {
  const { colours } = loading(new RangeError("broken"));
  await expect(colours.need()).rejects.toThrow("broken");
});
