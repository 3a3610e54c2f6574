import { describe, expect, test } from "vitest";
import { en } from "../../src/page/words/en.ts";
import { zh } from "../../src/page/words/zh.ts";

type Leaf = { readonly path: string; readonly value: unknown };

/** All texts of a language by the way to them; sentences with gaps are filled with marks. */
function leaves(value: unknown, path = ""): Leaf[] {
  if (typeof value === "function") return [{ path, value: value("⟨1⟩", "⟨2⟩") }];
  if (typeof value !== "object" || value === null) return [{ path, value }];
  return Object.entries(value).flatMap(([key, inner]) => leaves(inner, `${path}.${key}`));
}

const ENGLISH = new Map(leaves(en).map(({ path, value }) => [path, value]));
const CHINESE = leaves(zh);

describe("Chinese", () => {
  test("says everything that English says, and nothing else", () => {
    expect(CHINESE.map(({ path }) => path).sort()).toEqual([...ENGLISH.keys()].sort());
  });

  test("every text is one, and Chinese where there is anything to translate", () => {
    const same = CHINESE.filter(({ path, value }) => value === ENGLISH.get(path)).map(({ path }) => path);
    expect(same.sort()).toEqual([".top_p", ".version"]);
    for (const { value } of CHINESE) expect(value).toMatch(/\S/);
  });

  test("names every number that English names", () => {
    for (const { path, value } of CHINESE) {
      const marks = (text: unknown) => (String(text).match(/⟨\d⟩/g) ?? []).sort();
      expect([path, marks(value)]).toEqual([path, marks(ENGLISH.get(path))]);
    }
  });
});
