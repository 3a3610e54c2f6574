import fc from "fast-check";
import { describe, expect, test } from "vitest";
import {
  asked,
  decode,
  encode,
  languageOf,
  numberIn,
  type Parameters,
  PLAIN,
  type Preferences,
  tuned,
} from "../../src/page/preferences.ts";

describe("preferences", () => {
  test("are read as they were written", () => {
    const chosen: Preferences = {
      theme: "dark",
      language: "zh",
      model: "m",
      parameters: { temperature: 0, seed: 7, max_output_tokens: 12, instructions: "Be brief." },
      tokens: true,
      json: true,
    };
    expect(decode(encode(chosen))).toEqual(chosen);
  });

  test("whatever is found, something that may be asked comes of it", () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const read = decode(
          JSON.stringify({ parameters: value, theme: value, language: value, model: value }),
        );
        expect(decode(encode(read))).toEqual(read);
        expect(["system", "light", "dark"]).toContain(read.theme);
      }),
    );
    expect(decode(null)).toBe(PLAIN);
    expect(decode("{")).toBe(PLAIN);
  });

  test("numbers out of range are left to the server", () => {
    const written = JSON.stringify({
      parameters: { temperature: 3, top_p: 0, seed: 1.5, max_output_tokens: "9" },
    });
    expect(decode(written).parameters).toEqual({});
  });

  test.each([
    ["temperature", "0.7", 0.7],
    ["temperature", "2.1", undefined],
    ["temperature", "", undefined],
    ["seed", "1.5", undefined],
    ["seed", "42", 42],
    ["max_output_tokens", "0", undefined],
    ["top_p", "x", undefined],
  ] as const)("%s typed as %s", (name, typed, value) => {
    expect(numberIn(name, typed)).toBe(value);
  });

  test("a parameter is changed, or left to the server again", () => {
    const cleared = { temperature: undefined, instructions: "" } as unknown as Parameters;
    expect(tuned(PLAIN, { seed: 3 })).toEqual({ temperature: 0.3, top_p: 0.9, seed: 3 });
    expect(tuned(PLAIN, cleared)).toEqual({ top_p: 0.9 });
  });

  test("what is not chosen is not asked for", () => {
    expect(asked({ ...PLAIN, parameters: {} })).toEqual({});
    expect(asked({ ...PLAIN, model: "m" })).toEqual({ temperature: 0.3, top_p: 0.9, model: "m" });
    expect(asked({ ...PLAIN, parameters: {}, json: true })).toEqual({
      text: { format: { type: "json_object" } },
    });
    expect(asked({ ...PLAIN, parameters: {}, tokens: true })).toEqual({
      include: ["message.output_text.logprobs"],
    });
  });

  test("a model that the server has no more is not asked for", () => {
    const chosen = { ...PLAIN, parameters: {}, model: "gone" };
    expect(asked(chosen, ["here"])).toEqual({});
    expect(asked(chosen, ["here", "gone"])).toEqual({ model: "gone" });
    expect(asked(chosen, [])).toEqual({ model: "gone" });
  });

  test.each([
    [["zh-TW", "en"], "zh"],
    [["de", "en-GB"], "en"],
    [["de", "zh-CN"], "zh"],
    [[], "en"],
  ] as const)("a browser that speaks %o is spoken to in %s", (spoken, language) => {
    expect(languageOf(PLAIN, spoken)).toBe(language);
    expect(languageOf({ ...PLAIN, language: "en" }, spoken)).toBe("en");
  });
});
