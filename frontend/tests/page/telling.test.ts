import { describe, expect, test } from "vitest";
import { type Answer, INITIAL, type Link, type Outcome, type State } from "../../src/client/index.ts";
import { asked } from "../../src/page/conversation.ts";
import { facts, note, stateLine } from "../../src/page/telling.ts";

const OPEN: Link = { kind: "open", id: 1, heardAt: 0, proven: true };
const WAITING: Link = { kind: "waiting", until: 5 };

function state(answer: Partial<Answer>, more: Partial<State> = {}): State {
  const whole: Answer = {
    sent: true,
    phase: "generating",
    id: "resp_1",
    last: 6,
    text: "",
    deltas: 3,
    stopping: false,
    askedAt: 0,
    resumes: 0,
    ...answer,
  };
  return { ...INITIAL, link: OPEN, answer: whole, ...more };
}

function said(answer: Partial<Answer>, more: Partial<State> = {}, reloaded = false): string {
  return stateLine(state(answer, more), reloaded).text;
}

describe("the state line", () => {
  test("is ready before anything was asked", () => {
    expect(stateLine(INITIAL, false)).toEqual({ tone: "idle", text: "Ready" });
  });

  test("connecting until the server has said anything", () => {
    const { id: _, ...unnamed } = state({ phase: "asked" }).answer as Answer;
    const unheard: State = { ...INITIAL, link: { kind: "connecting", id: 1, until: 9 }, answer: unnamed };
    expect(stateLine(unheard, false).text).toBe("Connecting…");
    expect(stateLine({ ...unheard, attempt: 1, link: WAITING }, false).text).toBe(
      "No connection yet. Trying again…",
    );
  });

  test.each([
    [undefined, "Queued"],
    [0, "Queued, next in line"],
    [3, "Queued, 3 before this one"],
  ])("queued at place %s", (place, text) => {
    expect(said({ phase: "queued", ...(place === undefined ? {} : { place }) })).toBe(text);
  });

  test("generating", () => {
    expect(stateLine(state({}), false)).toEqual({ tone: "busy", text: "Generating" });
  });

  test("reconnecting while the socket is lost, also while it is being opened again", () => {
    const connecting: Link = { kind: "connecting", id: 2, until: 9 };
    expect(said({}, { link: WAITING, attempt: 1 })).toBe("Connection lost. Reconnecting…");
    expect(said({}, { link: connecting, attempt: 1 })).toBe("Connection lost. Reconnecting…");
  });

  test("a socket changed without trouble is not mentioned", () => {
    expect(said({}, { link: { kind: "connecting", id: 2, until: 9 } })).toBe("Generating");
  });

  test("says at which token it went on, and that nothing was lost", () => {
    expect(said({ resumes: 1, resumedAt: 118 })).toBe("Generating. Resumed at token 118, nothing lost");
    expect(said({}, {}, true)).toBe("Generating. Continued after the reload, nothing lost");
  });

  test("stopping, also without a connection", () => {
    expect(said({ stopping: true })).toBe("Stopping…");
    expect(said({ stopping: true }, { link: WAITING, attempt: 1 })).toBe(
      "Stopping as soon as the connection is back…",
    );
  });

  test.each<[Outcome, number, string]>([
    [{ status: "completed" }, 0, "Done"],
    [{ status: "completed" }, 1, "Done. Reconnected once, nothing lost"],
    [{ status: "completed" }, 2, "Done. Reconnected 2 times, nothing lost"],
    [{ status: "cancelled" }, 0, "Stopped"],
    [{ status: "incomplete", reason: "time_limit" }, 0, "Ended early: the time for one answer was over"],
    [{ status: "incomplete", reason: "new_limit" }, 0, "Ended early: new_limit"],
    [{ status: "incomplete" }, 0, "Ended early: a limit was reached"],
  ])("an ending: %o after %i reconnections", (outcome, resumes, text) => {
    expect(stateLine(state({ phase: "ended", outcome, resumes }), false)).toEqual({ tone: "idle", text });
  });

  test("a failure is told with the server's sentence, and when to try again", () => {
    const outcome: Outcome = { status: "failed", sentence: "Too many wait.", retryAfter: 7 };
    const line = stateLine(state({ phase: "ended", outcome }), false);
    expect(line).toEqual({ tone: "bad", text: "Failed: Too many wait. Try again in 7 s." });
  });

  test("does not change with a token", () => {
    expect(said({ text: "a", deltas: 1 })).toBe(said({ text: "ab", deltas: 2 }));
  });
});

describe("the small print", () => {
  const turn = asked("Hi", "k");

  test("leaves out what was not measured", () => {
    expect(facts(turn)).toEqual([]);
  });

  test("TTFT, rate, tokens and reconnections", () => {
    expect(facts({ ...turn, ttft: 182.4, rate: 24.4, tokens: 118, resumes: 1 })).toEqual([
      "TTFT 182 ms",
      "24 tokens/s",
      "118 tokens",
      "reconnected once",
    ]);
    expect(facts({ ...turn, ttft: 1_830, rate: 4.04, tokens: 1 })).toEqual([
      "TTFT 1.8 s",
      "4.0 tokens/s",
      "1 token",
    ]);
  });

  test("says that it was stopped", () => {
    expect(facts({ ...turn, tokens: 2, outcome: { status: "cancelled" } })).toEqual(["Stopped", "2 tokens"]);
  });

  test("only what went wrong gets a note", () => {
    expect(note(undefined)).toBe("");
    expect(note({ status: "completed" })).toBe("");
    expect(note({ status: "cancelled" })).toBe("");
    expect(note({ status: "failed", sentence: "It broke." })).toBe("Failed: It broke.");
    expect(note({ status: "failed" })).toBe("Failed: the server does not say why.");
    expect(note({ status: "incomplete", reason: "max_output_tokens" })).toMatch(/^Ended early/);
  });
});
