import { expect, test } from "vitest";
import { modelName } from "../../src/page/models.ts";

function answering(body: string, status = 200): typeof fetch {
  return async (url) => {
    expect(url).toBe("/v1/models");
    return new Response(body, { status });
  };
}

test("the first model of the list", async () => {
  expect(await modelName(answering('{"data":[{"id":"small"},{"id":"large"}]}'))).toBe("small");
});

test.each([["{}"], ['{"data":[]}'], ['{"data":[{}]}'], ["null"], ["not JSON"]])(
  "%s names none",
  async (body) => {
    expect(await modelName(answering(body))).toBe("");
  },
);

test("an error or no server at all names none", async () => {
  expect(await modelName(answering("{}", 503))).toBe("");
  expect(await modelName(() => Promise.reject(new TypeError("Failed to fetch")))).toBe("");
});

test("a mistake of ours is not swallowed", async () => {
  await expect(modelName(() => Promise.reject(new RangeError("bug")))).rejects.toThrow("bug");
});
