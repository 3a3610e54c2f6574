import { expect, test } from "vitest";
import { hashOf, type Route, routeOf } from "../../src/page/route.ts";

test.each<[string, Route]>([
  ["#/", { kind: "new" }],
  ["#/c/0a1b", { kind: "conversation", id: "0a1b" }],
  ["#/r/resp_00ff", { kind: "watch", responseId: "resp_00ff" }],
])("%s", (hash, route) => {
  expect(routeOf(hash)).toEqual(route);
  expect(hashOf(route)).toBe(hash);
});

test.each(["", "#", "#/x/1", "#/c/", "#/c/a/b", "#/r/<b>", `#/r/${"a".repeat(200)}`])(
  "%s is a blank page",
  (hash) => {
    expect(routeOf(hash)).toEqual({ kind: "new" });
  },
);
