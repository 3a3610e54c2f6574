import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { INITIAL, type State } from "../../src/client/index.ts";
import { Place } from "../../src/page/place.ts";
import type { Waiting } from "../../src/page/telling.ts";

interface Line {
  state: State;
  waiting: Waiting | undefined;
}

let open: Line | undefined;
let paths: string[] = [];
let answer: () => void;
let changes = 0;

function line(id: string, phase: "queued" | "generating" = "queued"): Line {
  const about = { sent: true, last: 0, text: "", deltas: 0, stopping: false, askedAt: 0, resumes: 0 };
  return { state: { ...INITIAL, answer: { ...about, id, phase } }, waiting: undefined };
}

/** Place whose server answers when the test says so. */
function placing(): Place {
  return new Place({
    get: (path) => {
      paths.push(path);
      return new Promise((resolve) => {
        answer = () => resolve(Response.json({ status: "queued", place: 2, wait_seconds: 9 }));
      });
    },
    open: () => open,
    onChange: () => {
      changes += 1;
    },
  });
}

beforeEach(() => {
  vi.useFakeTimers();
  paths = [];
  changes = 0;
});

afterEach(() => {
  vi.useRealTimers();
});

test("the line of what waits is told its place, every two seconds, as long as it waits", async () => {
  const waiting = line("resp_1");
  open = waiting;
  placing().ask();
  answer();
  await vi.advanceTimersByTimeAsync(0);
  expect([waiting.waiting, changes]).toEqual([{ place: 2, seconds: 9 }, 1]);
  await vi.advanceTimersByTimeAsync(2_000);
  expect(paths).toEqual(["/v1/responses/resp_1", "/v1/responses/resp_1"]);
  open = line("resp_1", "generating");
  await vi.advanceTimersByTimeAsync(60_000);
  expect(paths).toHaveLength(2);
});

test("nothing is asked where nothing waits", () => {
  open = undefined;
  placing().ask();
  open = line("resp_1", "generating");
  placing().ask();
  expect(paths).toEqual([]);
});

test("a place that comes after something else was opened is told to nobody", async () => {
  const [before, after] = [line("resp_1"), line("resp_2", "generating")];
  open = before;
  placing().ask();
  open = after;
  answer();
  await vi.advanceTimersByTimeAsync(0);
  expect([before.waiting, after.waiting, changes]).toEqual([undefined, undefined, 0]);
});
