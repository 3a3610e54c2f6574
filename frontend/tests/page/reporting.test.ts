import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Sample } from "../../src/page/measure.ts";
import { type Report, Reporter } from "../../src/page/reporting.ts";

function made(isWanted = true) {
  const sent: Report[] = [];
  const due: (() => void)[] = [];
  const reporter = new Reporter({
    send: async (report) => {
      sent.push(report);
      return isWanted;
    },
    later: (flush) => due.push(flush),
  });
  return { reporter, sent, due };
}

describe("a reporter", () => {
  test("joins what comes until it is due into one report, in seconds", () => {
    const { reporter, sent, due } = made();
    reporter.add({ kind: "ttft", ms: 250 });
    reporter.add({ kind: "gap", ms: 12.34 });
    reporter.add({ kind: "paint", ms: 1.5 });
    expect([sent.length, due.length]).toEqual([0, 1]);
    reporter.resumed(0);
    reporter.resumed(2);
    due[0]?.();
    expect(sent).toEqual([{ ttft: [0.25], gaps: [0.0123], paints: [0.0015], resumes: 2 }]);
  });

  test("says nothing when there is nothing to say", () => {
    const { reporter, sent } = made();
    reporter.flush();
    expect(sent).toEqual([]);
  });

  test("is silent for good once its reports are not wanted", async () => {
    const { reporter, sent, due } = made(false);
    reporter.add({ kind: "gap", ms: 1 });
    reporter.flush();
    await Promise.resolve();
    reporter.add({ kind: "gap", ms: 1 });
    for (const flush of due) flush();
    expect(sent).toHaveLength(1);
  });

  test("loses and doubles no sample, and bounds every list", () => {
    const sample = fc.record({ kind: fc.constantFrom("ttft", "gap", "paint"), ms: fc.nat(1e6) });
    const step = fc.oneof(
      { weight: 20, arbitrary: sample },
      { weight: 1, arbitrary: fc.constant("flush" as const) },
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 400 }), (steps) => {
        const { reporter, sent } = made();
        for (const each of steps) each === "flush" ? reporter.flush() : reporter.add(each as Sample);
        reporter.flush();
        const told = sent.flatMap(({ ttft, gaps, paints }) => [...ttft, ...gaps, ...paints]);
        expect(told).toHaveLength(steps.filter((each) => each !== "flush").length);
      }),
    );
    const { reporter, sent } = made();
    for (let n = 0; n < 600; n += 1) reporter.add({ kind: "paint", ms: 1 });
    reporter.flush();
    expect(sent[0]?.paints).toHaveLength(512);
  });
});
