import { describe, expect, test } from "vitest";
import { type Answer, asked, judgeEvent, restored, take } from "../../src/client/answer.ts";
import type { ResponseEvent } from "../../src/client/index.ts";
import { CANCELLED, ID, isDelta, logOf, merged, response } from "./wire.ts";

const ASK = { request: { input: "Hello" }, key: "k" };

function reader(events: readonly ResponseEvent[]): Answer {
  return events.reduce((answer, event, at) => take(answer, event, 100 + at), asked(ASK, 100));
}

describe("judgeEvent", () => {
  const log = logOf(["a", "b", "c"]);
  const atFour = reader(log.slice(0, 5)); // last = 4

  test("the next number is next", () => {
    expect(log.slice(5, 6).map((event) => judgeEvent(atFour, event))).toEqual(["next"]);
  });

  test("a number at or before the cursor is a duplicate", () => {
    expect(log.slice(0, 5).map((event) => judgeEvent(atFour, event))).toEqual(Array(5).fill("duplicate"));
  });

  test("a number further on is a gap", () => {
    expect(log.slice(6).map((event) => judgeEvent(atFour, event))).toEqual(Array(log.length - 6).fill("gap"));
  });

  test("a merged event is contiguous if its first number is", () => {
    const deltas = log.filter(isDelta); // 4, 5, 6
    expect(judgeEvent(atFour, merged(deltas.slice(1)))).toBe("next");
    expect(judgeEvent(atFour, merged(deltas.slice(0, 1)))).toBe("duplicate");
  });

  test("a merged event that overlaps what was taken is a gap: it cannot be cut in two", () => {
    expect(judgeEvent(atFour, merged(log.filter(isDelta)))).toBe("gap");
  });

  test("an older epoch is another history", () => {
    const [next] = log.slice(5, 6);
    expect(judgeEvent(atFour, { ...(next as ResponseEvent), epoch: 1 })).toBe("gap");
  });
});

describe("take", () => {
  test("joins the deltas and counts them", () => {
    expect(reader(logOf(["Hel", "lo"]))).toMatchObject({ id: ID, phase: "ended", text: "Hello", deltas: 2 });
  });

  test("a merged delta counts for all it covers", () => {
    const log = logOf(["a", "b", "c"]);
    const answer = reader([...log.slice(0, 4), merged(log.filter(isDelta))]);
    expect(answer).toMatchObject({ text: "abc", deltas: 3, last: 6 });
  });

  test("keeps the times of the first and the last delta", () => {
    expect(reader(logOf(["a", "b", "c"]))).toMatchObject({
      askedAt: 100,
      firstDeltaAt: 104,
      lastDeltaAt: 106,
    });
  });

  test("shows the place in the queue while it waits, and forgets it then", () => {
    const queued = reader([
      { type: "response.created", sequence_number: 0, response: response("queued", { place: 3 }) },
    ]);
    expect(queued).toMatchObject({ phase: "queued", place: 3 });
    const begun = take(
      queued,
      { type: "response.in_progress", sequence_number: 1, response: response("in_progress") },
      0,
    );
    expect(begun.phase).toBe("generating");
    expect(begun).not.toHaveProperty("place");
  });

  test("completed, with usage", () => {
    const usage = { input_tokens: 7, output_tokens: 1, total_tokens: 8 };
    expect(reader(logOf(["a"])).outcome).toEqual({ status: "completed", usage });
  });

  test("cancelled is a status of incomplete", () => {
    expect(reader(logOf(["a"], CANCELLED)).outcome?.status).toBe("cancelled");
  });

  test("incomplete names its reason", () => {
    const object = response("incomplete", { incomplete_details: { reason: "max_output_tokens" } });
    const end: ResponseEvent = { type: "response.incomplete", sequence_number: 0, response: object };
    expect(reader([end]).outcome).toEqual({ status: "incomplete", reason: "max_output_tokens" });
  });

  test("failed carries the server's sentence", () => {
    const object = response("failed", { error: { code: "worker_lost", message: "Three workers died." } });
    const end: ResponseEvent = { type: "response.failed", sequence_number: 0, response: object };
    const outcome = { status: "failed", code: "worker_lost", sentence: "Three workers died." };
    expect(reader([end]).outcome).toEqual(outcome);
  });

  test("an event of an unknown type moves the cursor and nothing else", () => {
    const answer = take(restored(ID, 0), { type: "other", name: "x", sequence_number: 0 }, 5);
    expect(answer).toEqual({ ...restored(ID, 0), last: 0 });
  });
});
