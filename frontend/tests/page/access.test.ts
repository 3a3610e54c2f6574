import { beforeEach, describe, expect, test } from "vitest";
import { Unauthorised } from "../../src/client/index.ts";
import { Access } from "../../src/page/access.ts";
import { modelNames, waitingOf } from "../../src/page/server.ts";

const GOOD = "Bearer tw_good";
let kept = new Map<string, string>();
let askings = 0;

const STORE = {
  getItem: (key: string) => kept.get(key) ?? null,
  setItem: (key: string, value: string) => void kept.set(key, value),
  removeItem: (key: string) => void kept.delete(key),
  key: () => null,
  length: 0,
};

/** A server that knows one key. */
const locked: typeof fetch = async (path, options) => {
  const shown = new Headers(options?.headers).get("Authorization");
  if (shown !== GOOD) return new Response("{}", { status: 401 });
  if (path === "/v1/ws-tickets") return Response.json({ object: "ws_ticket", ticket: "t1", expires_in: 30 });
  return Response.json({ data: [{ id: "m" }] });
};

function access(get: typeof fetch = locked): Access {
  return new Access(STORE, get, () => {
    askings += 1;
  });
}

beforeEach(() => {
  kept = new Map();
  askings = 0;
});

describe("a server that asks who one is", () => {
  test("is told by a key, kept for the tab, and tickets made from it", async () => {
    const way = access();
    expect(await modelNames((path) => way.get(path))).toEqual([]);
    expect([way.asking, askings]).toEqual(["key", 1]);
    way.use("tw_good");
    expect(way.asking).toBe("nothing");
    expect(await modelNames((path) => way.get(path))).toEqual(["m"]);
    expect(await way.ticket()).toBe("t1");
    expect(await access().ticket()).toBe("t1");
  });

  test("lets nobody in with another key, and no socket is tried meanwhile", async () => {
    const way = access();
    way.use("tw_bad");
    await expect(way.ticket()).rejects.toBeInstanceOf(Unauthorised);
    expect(way.asking).toBe("another");
    await expect(way.ticket()).rejects.toBeInstanceOf(Unauthorised);
  });

  test("a ticket that cannot be had just now is no refusal", async () => {
    const way = access(async () => new Response("{}", { status: 503 }));
    way.use("tw_good");
    await expect(way.ticket()).rejects.toBeInstanceOf(TypeError);
    expect(way.asking).toBe("nothing");
  });
});

test("a server that does not ask gets no ticket", async () => {
  expect(await access(async () => Response.json({})).ticket()).toBeUndefined();
});

describe("where a response stands in the queue", () => {
  test.each<[unknown, unknown]>([
    [
      { status: "queued", place: 2, wait_seconds: 9 },
      { place: 2, seconds: 9 },
    ],
    [{ status: "queued", place: 2, wait_seconds: null }, { place: 2 }],
    [{ status: "queued" }, undefined],
    [{ status: "in_progress", place: 2 }, undefined],
    ["odd", undefined],
  ])("%o", async (body, waiting) => {
    expect(await waitingOf("resp_1", async () => Response.json(body))).toEqual(waiting);
  });

  test("is not known of a server that cannot be reached or says no", async () => {
    const lost = () => Promise.reject(new TypeError("network"));
    expect(await waitingOf("resp_1", lost)).toBeUndefined();
    expect(await waitingOf("resp_1", async () => new Response("no", { status: 500 }))).toBeUndefined();
    expect(await modelNames(async () => new Response("<html>"))).toEqual([]);
  });
});
