import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Models } from "../../src/page/models.ts";

let asked = 0;
let changes = 0;
let isLocked = false;

/** A server that has a model from the given question on. */
function meeting(since: number): Models {
  return new Models({
    get: async () => {
      asked += 1;
      return Response.json({ data: asked < since ? [] : [{ id: "echo" }] });
    },
    isWorthAsking: () => !isLocked,
    onChange: () => {
      changes += 1;
    },
  });
}

beforeEach(() => {
  vi.useFakeTimers();
  asked = 0;
  changes = 0;
  isLocked = false;
});

afterEach(() => {
  vi.useRealTimers();
});

test("a server without a model is asked every three seconds until it has one", async () => {
  const models = meeting(3);
  await models.meet();
  expect([models.names, asked, changes]).toEqual([[], 1, 1]);
  await vi.advanceTimersByTimeAsync(3_000);
  expect([models.names, asked]).toEqual([[], 2]);
  await vi.advanceTimersByTimeAsync(60_000);
  expect([models.names, asked, changes]).toEqual([["echo"], 3, 3]);
});

test("a server that waits for a key is not asked again until there is one", async () => {
  isLocked = true;
  const models = meeting(2);
  await models.meet();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(asked).toBe(1);
  await models.meet();
  expect([models.names, asked]).toEqual([["echo"], 2]);
});

test("meeting once more does not double the questions that follow", async () => {
  const models = meeting(100);
  await models.meet();
  await models.meet();
  await vi.advanceTimersByTimeAsync(3_000);
  expect(asked).toBe(3);
});
