import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Answer } from "../../src/client/index.ts";
import {
  ask,
  begun,
  branch,
  type Conversation,
  follow,
  inputOf,
  merge,
  renew,
  show,
  siblings,
  type Turn,
  titleOf,
  unanswered,
} from "../../src/page/conversation.ts";
import { UNMEASURED } from "../../src/page/measure.ts";

const NOW = 1_700_000_000_000;
const EMPTY = begun("c", NOW);

/** Ask `id` at `parent`, and answer it with its own name in capitals. */
function said(conversation: Conversation, id: string, parent: string | null): Conversation {
  const asked = ask(conversation, { id, parent, prompt: id }, NOW + 1);
  const turn = asked.turns.at(-1) as Turn;
  return renew(asked, { ...turn, text: id.toUpperCase(), outcome: { status: "completed" } });
}

function names(turns: readonly Turn[]): string {
  return turns.map(({ id }) => id).join(" ");
}

const CHAIN = said(said(said(EMPTY, "a", null), "b", "a"), "c", "b");

describe("the tree of turns", () => {
  test("a question follows the one that is shown last", () => {
    expect(names(branch(CHAIN))).toBe("a b c");
    expect(names(branch(EMPTY))).toBe("");
  });

  test("asking again makes a sibling, and what followed the first one is kept", () => {
    const again = said(CHAIN, "b2", "a");
    expect(names(branch(again))).toBe("a b2");
    const [, shown] = branch(again);
    expect(names(siblings(again, shown as Turn))).toBe("b b2");
    expect(names(branch(show(again, "b")))).toBe("a b c");
    expect(names(branch(show(again, "b2")))).toBe("a b2");
  });

  test("showing a turn goes on to the newest end of its branch", () => {
    const rewritten = said(said(CHAIN, "c2", "b"), "a2", null);
    expect(names(branch(rewritten))).toBe("a2");
    expect(names(branch(show(rewritten, "a")))).toBe("a b c2");
  });

  test("the input is what was answered on the branch, then the question", () => {
    const failed = renew(CHAIN, { ...(CHAIN.turns[1] as Turn), text: "" });
    expect(inputOf(branch(failed), "now")).toEqual([
      { role: "user", content: "a" },
      { role: "assistant", content: "A" },
      { role: "user", content: "c" },
      { role: "assistant", content: "C" },
      { role: "user", content: "now" },
    ]);
  });

  test("a circle, as a broken store may hold, does not hang the page", () => {
    const turns = CHAIN.turns.map((turn) => (turn.id === "a" ? { ...turn, parent: "c" } : turn));
    expect(branch({ ...CHAIN, turns }).length).toBeLessThanOrEqual(4);
  });
});

describe("two tabs", () => {
  const names_ = fc.subarray(["d", "e", "f", "g"]);

  test("no turn of either is lost, and the one that was answered wins", () => {
    fc.assert(
      fc.property(names_, names_, (mine, theirs) => {
        const ours = mine.reduce((all, id) => said(all, id, "c"), CHAIN);
        const others = theirs.reduce((all, id) => ask(all, { id, parent: "c", prompt: id }, NOW + 5), CHAIN);
        const ids = new Set(["a", "b", "c", ...mine, ...theirs]);
        for (const whole of [merge(ours, others), merge(others, ours)]) {
          expect(new Set(whole.turns.map(({ id }) => id))).toEqual(ids);
          expect(whole.turns).toHaveLength(ids.size);
          for (const { id, outcome } of whole.turns)
            expect(outcome !== undefined).toBe(mine.includes(id) || "abc".includes(id));
        }
      }),
    );
  });

  test("the name is that of the one changed last, ours if that cannot be said", () => {
    const older = { ...CHAIN, title: "old", changedAt: NOW };
    const newer = { ...CHAIN, title: "new", changedAt: NOW + 9 };
    expect(merge(older, newer).title).toBe("new");
    expect(merge(newer, older).title).toBe("new");
    expect(merge({ ...older, title: "ours" }, older).title).toBe("ours");
  });

  test("of an answer in flight the longer text stands", () => {
    const asked = ask(EMPTY, { id: "a", parent: null, prompt: "?" }, NOW);
    const longer = renew(asked, { ...(asked.turns[0] as Turn), text: "more" });
    expect(merge(asked, longer).turns[0]?.text).toBe("more");
    expect(merge(longer, asked).turns[0]?.text).toBe("more");
  });
});

describe("following an answer", () => {
  const turn = ask(EMPTY, { id: "k", parent: null, prompt: "Hi" }, NOW).turns[0] as Turn;
  const answer: Answer = {
    sent: true,
    id: "resp_1",
    phase: "generating",
    last: 6,
    text: "abc",
    deltas: 3,
    stopping: false,
    askedAt: 0,
    resumes: 1,
  };

  test("takes its text, id, count, resumes and times", () => {
    expect(follow(turn, answer, UNMEASURED)).toEqual({
      ...turn,
      text: "abc",
      tokens: 3,
      resumes: 1,
      responseId: "resp_1",
      timing: UNMEASURED,
    });
  });

  test("the server's count of tokens stands in the end", () => {
    const usage = { input_tokens: 2, output_tokens: 7, total_tokens: 9 };
    const ended = follow(turn, { ...answer, phase: "ended", outcome: { status: "completed", usage } });
    expect(ended.tokens).toBe(7);
    expect(unanswered({ ...EMPTY, turns: [ended] })).toBeUndefined();
  });

  test("what was shown before a reload stays until the replay has caught up", () => {
    const before = { ...turn, text: "abcdef" };
    expect(follow(before, answer).text).toBe("abcdef");
    expect(follow(before, { ...answer, text: "abcdefg" }).text).toBe("abcdefg");
  });

  test("what was shown stays if the log is gone, and gives way to a whole answer", () => {
    const before = { ...turn, text: "abcdef" };
    expect(follow(before, { ...answer, outcome: { status: "failed" } }).text).toBe("abcdef");
    expect(follow(before, { ...answer, outcome: { status: "completed" } }).text).toBe("abc");
  });
});

describe("a title", () => {
  test("is the first line of the first question, and stays", () => {
    expect(CHAIN.title).toBe("a");
    expect(titleOf("  # Rainbows  \nand more")).toBe("Rainbows");
  });

  test("is cut between words", () => {
    const title = titleOf("word ".repeat(40));
    expect(title).toMatch(/^(word )+word…$/);
    expect(title.length).toBeLessThanOrEqual(61);
    expect(titleOf("字".repeat(100))).toBe(`${"字".repeat(60)}…`);
  });
});
