import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Meter, quantile, rate, type Sample, UNMEASURED } from "../../src/page/measure.ts";

describe("a meter", () => {
  test("measures from asking to the first piece, and from piece to piece", () => {
    const samples: Sample[] = [];
    const meter = new Meter(100, (sample) => samples.push(sample));
    expect(meter.timing).toBe(UNMEASURED);
    for (const at of [350, 360, 390]) meter.piece(at);
    meter.painted(2);
    meter.painted(3);
    expect(meter.timing).toEqual({
      ttft: 250,
      span: 40,
      pieces: 2,
      gaps: [10, 30],
      longest: 30,
      paints: 2,
      painting: 5,
    });
    expect(samples).toEqual([
      { kind: "ttft", ms: 250 },
      { kind: "gap", ms: 10 },
      { kind: "gap", ms: 30 },
      { kind: "paint", ms: 2 },
      { kind: "paint", ms: 3 },
    ]);
  });

  test("keeps a bounded number of gaps, the newest, and the longest of all", () => {
    const meter = new Meter(0);
    meter.piece(0);
    meter.piece(900);
    for (let n = 1; n <= 1_000; n += 1) meter.piece(900 + n);
    const { gaps, longest, pieces, span } = meter.timing;
    expect(gaps).toHaveLength(240);
    expect(new Set(gaps)).toEqual(new Set([1]));
    expect({ longest, pieces, span }).toEqual({ longest: 900, pieces: 1_001, span: 1_900 });
  });
});

test("a rate needs more than one token, and time between them", () => {
  expect(rate({ ...UNMEASURED, span: 2_000 }, 11)).toBe(5);
  expect(rate({ ...UNMEASURED, span: 2_000 }, 1)).toBeUndefined();
  expect(rate(UNMEASURED, 11)).toBeUndefined();
});

test("a quantile is a value with at least that share below or at it", () => {
  expect(quantile([], 0.5)).toBeUndefined();
  fc.assert(
    fc.property(
      fc.array(fc.nat(), { minLength: 1 }),
      fc.double({ min: 0, max: 1, noNaN: true }),
      (values, q) => {
        const found = quantile(values, q) as number;
        expect(values).toContain(found);
        expect(values.filter((value) => value <= found).length).toBeGreaterThanOrEqual(q * values.length);
      },
    ),
  );
});
