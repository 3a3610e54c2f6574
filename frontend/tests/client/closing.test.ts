import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { backoff, judge } from "../../src/client/index.ts";

describe("judge", () => {
  test.each([1000, 1001, 1005, 1006, 1011, 1012, 1013, 1015])("%i is tried again", (code) => {
    expect(judge(code).retry).toBe(true);
  });

  test.each([1002, 1003, 1007, 1008, 1009, 1010, 3000, 4000, 4401])("%i is final and says why", (code) => {
    const verdict = judge(code);
    expect(verdict).toMatchObject({ retry: false, sentence: expect.stringMatching(/\.$/) });
  });

  test("an overloaded server is given more time", () => {
    const base = (code: number) => {
      const verdict = judge(code);
      return verdict.retry ? verdict.base : Number.NaN;
    };
    expect(base(1013)).toBeGreaterThan(base(1012));
  });
});

describe("backoff", () => {
  test("doubles up to a ceiling, and half of it is chance", () => {
    const bounds = (attempt: number) => [backoff(attempt, 0), backoff(attempt, 1)];
    expect([0, 1, 2, 5, 50].map(bounds)).toEqual([
      [125, 250],
      [250, 500],
      [500, 1000],
      [4000, 8000],
      [4000, 8000],
    ]);
  });

  test("never leaves its bounds", () => {
    const chance = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
    fc.assert(
      fc.property(fc.nat(100), chance, (attempt, random) => {
        const wait = backoff(attempt, random);
        expect(wait).toBeGreaterThanOrEqual(125);
        expect(wait).toBeLessThanOrEqual(8000);
      }),
    );
  });
});
