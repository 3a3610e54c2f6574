import { expect, test } from "vitest";
import { ask, begun, renew, type Turn } from "../../src/page/conversation.ts";
import { jsonFile, markdownFile } from "../../src/page/exporting.ts";

const ASKED = ask(begun("c", Date.UTC(2026, 0, 2)), { id: "t", parent: null, prompt: "How?\nAnd why?" }, 3);
const TALK = renew(ASKED, { ...(ASKED.turns[0] as Turn), text: "**So.**\n\n" });

test("Markdown holds the shown branch, the questions as quotes", () => {
  expect(markdownFile(TALK)).toEqual({
    name: "2026-01-02-how.md",
    type: "text/markdown",
    content: "# How?\n\n> How?\n> And why?\n\n**So.**\n",
  });
});

test("JSON holds everything", () => {
  const file = jsonFile(TALK);
  expect(file.name).toBe("2026-01-02-how.json");
  expect(JSON.parse(file.content)).toEqual(TALK);
});

test("a name that no file may have becomes one that it may", () => {
  expect(markdownFile({ ...TALK, title: '../<"?>' }).name).toBe("2026-01-02-conversation.md");
  expect(markdownFile({ ...TALK, title: "彩虹 是 什么？" }).name).toBe("2026-01-02-彩虹-是-什么.md");
});
