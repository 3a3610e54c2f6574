import { describe, expect, test } from "vitest";
import { begun } from "../../src/page/conversation.ts";
import { piecesOf } from "../../src/page/pieces.ts";
import { levelOf } from "../../src/page/view/answer.tsx";
import { bars, tall } from "../../src/page/view/gaps.tsx";
import { periods } from "../../src/page/view/list.tsx";
import { en } from "../../src/page/words/en.ts";

test("conversations stand under the days they were changed on", () => {
  const noon = new Date(2026, 5, 15, 12).getTime();
  const days = [0, 0.4, 0.6, 1.6, 6, 8, 300];
  const all = days.map((ago, at) => begun(String(at), noon - ago * 86_400_000));
  const shown = periods(en, all, noon).map(([name, within]) => [name, within.map(({ id }) => id).join("")]);
  expect(shown).toEqual([
    ["Today", "01"],
    ["Yesterday", "2"],
    ["Last 7 days", "34"],
    ["Older", "56"],
  ]);
  expect(periods(en, [], noon)).toEqual([]);
});

describe("the plot of gaps", () => {
  test("a bar for each that is meant, at its place", () => {
    const path = bars([10, 2_000, 10], (ms) => ms < 250);
    expect(path.match(/M/g)).toHaveLength(2);
    expect(path).toMatch(/^M0.75 .*M4.75 /);
  });

  test("grows with the logarithm and stays within", () => {
    expect(tall(0)).toBe(1);
    expect(tall(100) - tall(10)).toBeCloseTo(tall(1_000) - tall(100));
    expect(tall(1e9)).toBeLessThan(20);
  });
});

describe("pieces", () => {
  test("are the tokens, where they are named and make up the text", () => {
    const logprobs = [
      { token: "He", logprob: -0.1 },
      { token: "llo", logprob: -2 },
    ];
    expect(piecesOf("Hello", logprobs)).toEqual([
      { text: "He", logprob: -0.1 },
      { text: "llo", logprob: -2 },
    ]);
    expect(piecesOf("Hallo", logprobs)).toEqual([{ text: "Hallo" }]);
    expect(piecesOf("Hello", [])).toEqual([{ text: "Hello" }]);
  });

  test("have five levels of likelihood", () => {
    expect([0, 0.04, 0.05, 0.3, 0.5, 0.79, 0.8, 1].map(levelOf)).toEqual([0, 0, 1, 2, 3, 3, 4, 4]);
  });
});
