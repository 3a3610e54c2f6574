import { describe, expect, test } from "vitest";
import { type Answer, INITIAL, type Link, type Outcome, type State } from "../../src/client/index.ts";
import type { Turn } from "../../src/page/conversation.ts";
import { UNMEASURED } from "../../src/page/measure.ts";
import { evenness, facts, note, spoken, stateLine, type Waiting } from "../../src/page/telling.ts";
import { en } from "../../src/page/words/en.ts";

const WAITING: Link = { kind: "waiting", until: 9 };
const BASE: Answer = {
  sent: true,
  id: "resp_1",
  phase: "generating",
  last: 4,
  text: "a",
  deltas: 1,
  stopping: false,
  askedAt: 0,
  resumes: 0,
};
const SMOOTH = { reloaded: false };

function state(answer: Partial<Answer>, more: Partial<State> = {}): State {
  return {
    ...INITIAL,
    link: { kind: "open", id: 1, heardAt: 0, proven: true },
    answer: { ...BASE, ...answer },
    ...more,
  };
}

function said(answer: Partial<Answer>, more: Partial<State> = {}, circumstances = SMOOTH): string {
  return stateLine(en, state(answer, more), circumstances).text;
}

describe("the state line", () => {
  test("is ready before anything was asked", () => {
    expect(stateLine(en, INITIAL, SMOOTH)).toEqual({ tone: "idle", text: "Ready" });
    expect(stateLine(en, undefined, SMOOTH)).toEqual({ tone: "idle", text: "Ready" });
  });

  test("connecting until the server has said anything", () => {
    const { id: _, ...unnamed } = BASE;
    const unheard: State = {
      ...INITIAL,
      link: { kind: "connecting", id: 1, until: 9 },
      answer: { ...unnamed, phase: "asked" },
    };
    expect(stateLine(en, unheard, SMOOTH).text).toBe("Connecting…");
    expect(stateLine(en, { ...unheard, attempt: 1, link: WAITING }, SMOOTH).text).toBe(
      "No connection yet. Trying again…",
    );
  });

  test.each<[Waiting | undefined, string]>([
    [undefined, "Queued"],
    [{ place: 0 }, "Queued, next in line"],
    [{ place: 3 }, "Queued, 3 before this one"],
    [{ place: 3, seconds: 12 }, "Queued, 3 before this one · about 12 s"],
  ])("queued at %o", (waiting, text) => {
    const circumstances = waiting === undefined ? SMOOTH : { ...SMOOTH, waiting };
    expect(stateLine(en, state({ phase: "queued" }), circumstances).text).toBe(text);
  });

  test("generating", () => {
    expect(stateLine(en, state({}), SMOOTH)).toEqual({ tone: "busy", text: "Generating" });
  });

  test("reconnecting while the socket is lost, also while it is being opened again", () => {
    const connecting: Link = { kind: "connecting", id: 2, until: 9 };
    const waiting = state({}, { link: WAITING, attempt: 1 });
    expect(stateLine(en, waiting, SMOOTH)).toEqual({ tone: "lost", text: "Connection lost. Reconnecting…" });
    expect(said({}, { link: connecting, attempt: 1 })).toBe("Connection lost. Reconnecting…");
  });

  test("a socket changed without trouble is not mentioned", () => {
    expect(said({}, { link: { kind: "connecting", id: 2, until: 9 } })).toBe("Generating");
  });

  test("says at which token it went on, and that nothing was lost", () => {
    expect(said({ resumes: 1, resumedAt: 118 })).toBe("Generating · Resumed at token 118, nothing lost");
    expect(said({}, {}, { reloaded: true })).toBe("Generating · Continued after the reload, nothing lost");
  });

  test("stopping, also without a connection", () => {
    expect(said({ stopping: true })).toBe("Stopping…");
    expect(said({ stopping: true }, { link: WAITING, attempt: 1 })).toBe(
      "Stopping as soon as the connection is back…",
    );
  });

  test.each<[Outcome, number, string]>([
    [{ status: "completed" }, 0, "Done"],
    [{ status: "completed" }, 1, "Done · reconnected once, nothing lost"],
    [{ status: "completed" }, 2, "Done · reconnected 2 times, nothing lost"],
    [{ status: "cancelled" }, 0, "Stopped"],
    [{ status: "incomplete", reason: "time_limit" }, 0, "Ended early: the time for one answer was over"],
    [{ status: "incomplete", reason: "new_limit" }, 0, "Ended early: new_limit"],
    [{ status: "incomplete" }, 0, "Ended early: a limit was reached"],
  ])("an ending: %o after %i reconnections", (outcome, resumes, text) => {
    expect(stateLine(en, state({ phase: "ended", outcome, resumes }), SMOOTH)).toEqual({
      tone: "idle",
      text,
    });
  });

  test("a failure is told with the server's sentence, and when to try again", () => {
    const outcome: Outcome = { status: "failed", sentence: "Too many wait.", retryAfter: 7 };
    const line = stateLine(en, state({ phase: "ended", outcome }), SMOOTH);
    expect(line).toEqual({ tone: "bad", text: "Failed: Too many wait. Try again in 7 s." });
  });

  test("does not change with a token", () => {
    expect(said({ text: "a", deltas: 1 })).toBe(said({ text: "ab", deltas: 2 }));
  });
});

describe("what a screen reader hears", () => {
  test("the state while it is made, and never a token", () => {
    expect(spoken(en, state({ text: "one" }), SMOOTH)).toBe("Generating");
    expect(spoken(en, state({ text: "one two" }), SMOOTH)).toBe("Generating");
  });

  test("the answer when it is finished", () => {
    const ended = state({ text: "one two", outcome: { status: "completed" } });
    expect(spoken(en, ended, SMOOTH)).toBe("Done. Answer: one two");
    expect(spoken(en, state({ text: "", outcome: { status: "cancelled" } }), SMOOTH)).toBe("Stopped");
  });

  test("the place in the queue, but no time that counts down", () => {
    const queued = state({ phase: "queued" });
    expect(spoken(en, queued, { ...SMOOTH, waiting: { place: 2, seconds: 9 } })).toBe(
      "Queued, 2 before this one",
    );
  });

  test("nothing before anything was asked", () => {
    expect(spoken(en, undefined, SMOOTH)).toBe("");
  });
});

describe("the small print", () => {
  const turn: Turn = { id: "k", parent: null, prompt: "Hi", text: "", tokens: 0, resumes: 0 };
  const texts = (of: Turn) => facts(en, of).map(({ text }) => text);

  test("leaves out what was not measured", () => {
    expect(texts(turn)).toEqual([]);
  });

  test("TTFT, rate, tokens and reconnections", () => {
    const timing = { ...UNMEASURED, ttft: 182.4, span: 4_800 };
    expect(texts({ ...turn, timing, tokens: 118, resumes: 1 })).toEqual([
      "TTFT 182 ms",
      "24 tokens/s",
      "118 tokens",
      "reconnected once",
    ]);
    const slow = { ...UNMEASURED, ttft: 1_830, span: 250 };
    expect(texts({ ...turn, timing: slow, tokens: 2 })).toEqual(["TTFT 1.8 s", "4.0 tokens/s", "2 tokens"]);
  });

  test("usage stands behind the count of tokens", () => {
    const usage = { input_tokens: 5, output_tokens: 2, total_tokens: 7 };
    expect(facts(en, { ...turn, tokens: 2, outcome: { status: "completed", usage } })).toEqual([
      { text: "2 tokens", hint: "5 in, 2 out" },
    ]);
  });

  test("usage says how much of the input was cached, if any was", () => {
    const hints = (cached_tokens: number) => {
      const usage = { input_tokens: 5, output_tokens: 2, total_tokens: 7 };
      const outcome: Outcome = {
        status: "completed",
        usage: { ...usage, input_tokens_details: { cached_tokens } },
      };
      return facts(en, { ...turn, tokens: 2, outcome }).map(({ hint }) => hint);
    };
    expect(hints(4)).toEqual(["5 in (4 cached), 2 out"]);
    expect(hints(0)).toEqual(["5 in, 2 out"]);
  });

  test("says that it was stopped", () => {
    expect(texts({ ...turn, tokens: 1, outcome: { status: "cancelled" } })).toEqual(["Stopped", "1 token"]);
  });

  test("how even the pieces came", () => {
    expect(evenness(en, [])).toBe("");
    expect(evenness(en, [10, 20, 1_500])).toBe("Half the pieces came within 20 ms, 99 of 100 within 1.5 s");
  });

  test("only what went wrong gets a note", () => {
    expect(note(en, undefined)).toBe("");
    expect(note(en, { status: "completed" })).toBe("");
    expect(note(en, { status: "cancelled" })).toBe("");
    expect(note(en, { status: "failed", sentence: "It broke." })).toBe("Failed: It broke.");
    expect(note(en, { status: "failed" })).toBe("Failed: the server does not say why.");
    expect(note(en, { status: "incomplete", reason: "max_output_tokens" })).toMatch(/^Ended early/);
  });
});
