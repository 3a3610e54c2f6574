import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Notices } from "../../src/page/notices.ts";

let changes = 0;
let notices: Notices;

beforeEach(() => {
  vi.useFakeTimers();
  changes = 0;
  notices = new Notices(() => {
    changes += 1;
  });
});

afterEach(() => {
  vi.useRealTimers();
});

test("a notice stands for eight seconds", () => {
  notices.say({ text: "Copied" });
  vi.advanceTimersByTime(7_999);
  expect([notices.current?.text, changes]).toEqual(["Copied", 1]);
  vi.advanceTimersByTime(1);
  expect([notices.current, changes]).toEqual([undefined, 2]);
});

test("the next notice has its own eight seconds", () => {
  notices.say({ text: "one" });
  vi.advanceTimersByTime(7_000);
  notices.say({ text: "two" });
  vi.advanceTimersByTime(7_999);
  expect(notices.current?.text).toBe("two");
});

test("a notice that was dismissed does not go once more", () => {
  notices.say({ text: "one" });
  notices.dismiss();
  vi.advanceTimersByTime(60_000);
  expect([notices.current, changes]).toEqual([undefined, 2]);
});
