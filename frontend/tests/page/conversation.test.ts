import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Answer } from "../../src/client/index.ts";
import { asked, decode, encode, follow, inputOf, type Turn } from "../../src/page/conversation.ts";

const ANSWER: Answer = {
  sent: true,
  phase: "generating",
  id: "resp_1",
  last: 6,
  text: "Hello",
  deltas: 3,
  stopping: false,
  askedAt: 1_000,
  firstDeltaAt: 1_200,
  lastDeltaAt: 1_300,
  resumes: 0,
};
const USAGE = { input_tokens: 5, output_tokens: 11, total_tokens: 16 };

function turn(more: Partial<Turn> = {}): Turn {
  return { ...asked("Hi", "k"), ...more };
}

describe("inputOf", () => {
  test("earlier turns are sent along", () => {
    const turns = [turn({ prompt: "A?", text: "a" }), turn({ prompt: "B?", text: "b" })];
    expect(inputOf(turns, "C?")).toEqual([
      { role: "user", content: "A?" },
      { role: "assistant", content: "a" },
      { role: "user", content: "B?" },
      { role: "assistant", content: "b" },
      { role: "user", content: "C?" },
    ]);
  });

  test("a turn without any answer is left out", () => {
    expect(inputOf([turn()], "C?")).toEqual([{ role: "user", content: "C?" }]);
  });
});

describe("follow", () => {
  test("takes over text, id and measures", () => {
    expect(follow(turn(), ANSWER)).toEqual({
      ...turn(),
      text: "Hello",
      responseId: "resp_1",
      tokens: 3,
      ttft: 200,
      rate: 20,
    });
  });

  test("the ending counts tokens better than deltas do", () => {
    const ended: Answer = { ...ANSWER, phase: "ended", outcome: { status: "completed", usage: USAGE } };
    expect(follow(turn(), ended)).toMatchObject({ tokens: 11, rate: 100, outcome: { status: "completed" } });
  });

  test("one delta alone has a time but no rate", () => {
    const one = follow(turn(), { ...ANSWER, deltas: 1, lastDeltaAt: 1_200 });
    expect(one.ttft).toBe(200);
    expect(one).not.toHaveProperty("rate");
  });

  test("before the first delta nothing is measured", () => {
    const { firstDeltaAt: _first, lastDeltaAt: _last, ...waiting } = ANSWER;
    const followed = follow(turn(), { ...waiting, text: "", deltas: 0 });
    expect(followed).not.toHaveProperty("ttft");
  });

  const reloaded = turn({ text: "Hello, wor", tokens: 5, ttft: 90, rate: 30, reloaded: true });

  test("after a reload what was shown stays until the replay has caught up", () => {
    expect(follow(reloaded, ANSWER)).toMatchObject({ text: "Hello, wor", tokens: 5 });
    expect(follow(reloaded, { ...ANSWER, text: "Hello, world" }).text).toBe("Hello, world");
  });

  test("after a reload the times of the replay are not taken for the model's", () => {
    expect(follow(reloaded, ANSWER)).toMatchObject({ ttft: 90, rate: 30 });
  });

  test("after a reload an answer that cannot be read on keeps what was shown", () => {
    const outcome = { status: "failed", code: "resume_unavailable" } as const;
    const lost = follow(reloaded, { ...ANSWER, text: "", phase: "ended", outcome });
    expect(lost).toMatchObject({ text: "Hello, wor", outcome });
  });

  test("a whole answer is the log's, also if less was logged than shown", () => {
    const whole = follow(reloaded, { ...ANSWER, phase: "ended", outcome: { status: "cancelled" } });
    expect(whole.text).toBe("Hello");
  });
});

describe("what outlives a reload", () => {
  const turns = fc.array(
    fc.record({ prompt: fc.string(), text: fc.string(), tokens: fc.nat(), resumes: fc.nat(3) }).map(turn),
  );

  test("an ended conversation comes back as it was", () => {
    const ended = turns.map((all) =>
      all.map((each): Turn => ({ ...each, outcome: { status: "completed" } })),
    );
    fc.assert(
      fc.property(ended, (conversation) => {
        expect(decode(encode(conversation))).toEqual(conversation);
      }),
    );
  });

  test("an answer in flight comes back as reloaded", () => {
    expect(decode(encode([turn()]))).toEqual([turn({ reloaded: true })]);
  });

  test.each([
    [null],
    [""],
    ["{"],
    ["7"],
    ["{}"],
    ["[null]"],
    ['[{"prompt":"x"}]'],
    ['[{"prompt":1,"text":2}]'],
  ])("%s is an empty conversation", (written) => {
    expect(decode(written)).toEqual([]);
  });
});
