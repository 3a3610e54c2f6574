import { afterEach, expect, test, vi } from "vitest";
import { keep, kept } from "../../src/page/keeping.ts";

function storage(more: Partial<Storage>): void {
  vi.stubGlobal("sessionStorage", more);
}

afterEach(() => {
  vi.unstubAllGlobals();
});

test("what was kept is there again", () => {
  const texts = new Map<string, string>();
  storage({
    getItem: (name) => texts.get(name) ?? null,
    setItem: (name, text) => void texts.set(name, text),
  });
  expect(kept()).toBeNull();
  expect(keep("all of it")).toBe(true);
  expect(kept()).toBe("all of it");
});

test("a browser that keeps nothing is no fault", () => {
  const refuse = () => {
    throw new DOMException("full", "QuotaExceededError");
  };
  storage({ getItem: refuse, setItem: refuse });
  expect(kept()).toBeNull();
  expect(keep("x")).toBe(false);
});

test("a mistake of ours is not swallowed", () => {
  storage({
    getItem: () => {
      throw new RangeError("bug");
    },
  });
  expect(() => kept()).toThrow("bug");
});
