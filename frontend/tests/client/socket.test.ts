import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import {
  newKey,
  responsesUrl,
  type State,
  StreamClient,
  type StreamClientOptions,
  Unauthorised,
} from "../../src/client/index.ts";
import { ID, logOf } from "./wire.ts";

const LOG = logOf(["a", "b", "c"]);

/** As much of a WebSocket as the shell touches, driven by the test. */
class FakeSocket {
  readonly sent: unknown[] = [];
  closedWith: number | undefined;
  onopen: (() => void) | null = null;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onclose: ((event: { code: number }) => void) | null = null;
  readonly url: string;
  readonly protocols: string[];

  constructor(url: string, protocols: string[]) {
    this.url = url;
    this.protocols = protocols;
  }

  send(data: string): void {
    this.sent.push(JSON.parse(data));
  }

  close(code: number): void {
    this.closedWith = code;
  }

  say(...events: unknown[]): void {
    for (const event of events) this.onmessage?.({ data: JSON.stringify(event) });
  }
}

const sockets: FakeSocket[] = [];
const states: State[] = [];

function client(
  onTaken?: StreamClientOptions["onTaken"],
  ticket?: StreamClientOptions["ticket"],
): StreamClient {
  return new StreamClient({
    url: "ws://host/v1/responses",
    onChange: (state) => states.push(state),
    ...(onTaken === undefined ? {} : { onTaken }),
    ...(ticket === undefined ? {} : { ticket }),
    surroundings: {
      open: (url, protocols) => {
        const socket = new FakeSocket(url, protocols);
        sockets.push(socket);
        return socket as unknown as WebSocket;
      },
      now: () => Date.now(),
      random: () => 0,
    },
  });
}

function newest(): FakeSocket {
  const socket = sockets.at(-1);
  if (socket === undefined) throw new Error("no socket was opened");
  return socket;
}

beforeEach(() => {
  vi.useFakeTimers();
  sockets.length = 0;
  states.length = 0;
});
afterEach(() => {
  vi.useRealTimers();
});

describe("StreamClient", () => {
  test("opens a socket, asks, and tells of every change", () => {
    const stream = client();
    stream.ask({ input: "Hello", seed: 1 }, "k");
    expect(newest().url).toBe("ws://host/v1/responses");
    newest().onopen?.();
    expect(newest().sent).toEqual([
      { type: "response.create", input: "Hello", seed: 1, event_id: "k", idempotency_key: "k" },
    ]);
    newest().say(...LOG);
    expect(stream.state.answer).toMatchObject({ text: "abc", phase: "ended" });
    expect(states.at(-1)).toBe(stream.state);
    expect(vi.getTimerCount()).toBe(0);
  });

  test("comes back after a lost socket and reads on", () => {
    const stream = client();
    stream.ask({ input: "Hello" });
    newest().onopen?.();
    newest().say(...LOG.slice(0, 5));
    newest().onclose?.({ code: 1006 });
    expect(sockets).toHaveLength(1);
    vi.runOnlyPendingTimers();
    expect(sockets).toHaveLength(2);
    newest().onopen?.();
    expect(newest().sent).toMatchObject([{ type: "response.resume", response_id: ID, starting_after: 4 }]);
    newest().say(...LOG.slice(5));
    expect(stream.state.answer?.text).toBe("abc");
  });

  test("shows a new ticket to every socket, and none where none is needed", async () => {
    let tickets = 0;
    const stream = client(undefined, () => Promise.resolve(`t${++tickets}`));
    stream.ask({ input: "Hello" });
    expect(sockets).toHaveLength(0);
    await vi.advanceTimersByTimeAsync(0);
    expect(newest().protocols).toEqual(["tokenwire.v1", "tokenwire.ticket.t1"]);
    newest().onopen?.();
    newest().say(...LOG.slice(0, 5));
    newest().onclose?.({ code: 1006 });
    await vi.runOnlyPendingTimersAsync();
    expect(newest().protocols).toEqual(["tokenwire.v1", "tokenwire.ticket.t2"]);
    newest().onopen?.();
    newest().say(...LOG.slice(5));
    expect(stream.state.answer?.text).toBe("abc");
    client().ask({ input: "Hello" });
    expect(newest().protocols).toEqual([]);
  });

  test("asks again for a ticket that could not be had, and gives up where it is no use", async () => {
    const answers = [new Error("offline"), new Unauthorised("signed out")];
    const stream = client(undefined, () => Promise.reject(answers.shift()));
    stream.ask({ input: "Hello" });
    await vi.advanceTimersByTimeAsync(0);
    expect(stream.state.link.kind).toBe("waiting");
    await vi.runOnlyPendingTimersAsync();
    expect(answers).toHaveLength(0);
    expect(sockets).toHaveLength(0);
    expect(JSON.stringify(stream.state.answer)).toContain("no longer authorised");
  });

  test("opens a socket without a ticket where the page has none to show", async () => {
    const stream = client(undefined, () => Promise.resolve(undefined));
    stream.ask({ input: "Hello" });
    await vi.advanceTimersByTimeAsync(0);
    expect(newest().protocols).toEqual([]);
  });

  test("a ticket that comes too late opens nothing", async () => {
    const late: ((ticket: string) => void)[] = [];
    const stream = client(undefined, () => new Promise((resolve) => late.push(resolve)));
    stream.ask({ input: "Hello" });
    await vi.advanceTimersByTimeAsync(120_000);
    expect(late.length).toBeGreaterThan(1);
    late[0]?.("t1");
    await vi.advanceTimersByTimeAsync(0);
    expect(sockets).toHaveLength(0);
    expect(stream.state.link.kind).not.toBe("idle");
  });

  test("a socket that it left is closed, and not heard any more", () => {
    const stream = client();
    stream.ask({ input: "Hello" });
    newest().onopen?.();
    newest().say(...LOG.slice(0, 5), ...LOG.slice(6));
    const [left] = sockets;
    expect(left?.closedWith).toBe(1000);
    left?.say(...LOG.slice(5));
    left?.onclose?.({ code: 1005 });
    expect(stream.state.answer?.text).toBe("a");
    expect(stream.state.link.kind).toBe("waiting");
  });

  test("keeps one timer however many frames come, and acts when the silence is long enough", () => {
    const stream = client();
    stream.ask({ input: "Hello" });
    newest().onopen?.();
    for (const event of LOG.slice(0, 6)) {
      vi.advanceTimersByTime(9_000);
      newest().say(event);
      expect(vi.getTimerCount()).toBe(1);
    }
    vi.advanceTimersByTime(29_999);
    expect(sockets).toHaveLength(1);
    vi.advanceTimersByTime(2);
    expect(sockets).toHaveLength(2);
    expect(stream.state.answer?.text).toBe("ab");
  });

  test("stop, restore and online reach the machine", () => {
    const stream = client();
    stream.restore(ID);
    newest().onopen?.();
    newest().say(...LOG.slice(0, 5));
    stream.online();
    expect(sockets).toHaveLength(2);
    newest().onopen?.();
    stream.stop();
    expect(newest().sent.at(-1)).toMatchObject({ type: "response.cancel", response_id: ID });
  });

  test("tells of each event that was taken, once, and of no other", () => {
    const taken: number[] = [];
    const stream = client((event) => taken.push(event.sequence_number));
    stream.ask({ input: "Hello" });
    newest().onopen?.();
    newest().say(...LOG.slice(0, 6), ...LOG.slice(3, 5), { type: "response.odd", sequence_number: 6 });
    newest().say({ type: "error", error: { message: "not about it" }, event_id: "other" });
    expect(taken).toEqual([0, 1, 2, 3, 4, 5, 6]);
  });

  test("leaving closes the socket and forgets the answer", () => {
    const stream = client();
    stream.ask({ input: "Hello" });
    newest().onopen?.();
    stream.leave();
    expect(newest().closedWith).toBe(1000);
    expect(stream.state.answer).toBeUndefined();
    expect(vi.getTimerCount()).toBe(0);
  });

  test("what changes nothing is not told", () => {
    const stream = client();
    stream.stop();
    stream.online();
    expect(states).toEqual([]);
  });
});

test("keys are 128 random bits and never the same", () => {
  const keys = Array.from({ length: 100 }, newKey);
  expect(new Set(keys).size).toBe(100);
  for (const key of keys) expect(key).toMatch(/^[0-9a-f]{32}$/);
});

test("the socket goes to the host that served the page, encrypted if the page was", () => {
  expect(responsesUrl({ protocol: "http:", host: "localhost:8080" })).toBe(
    "ws://localhost:8080/v1/responses",
  );
  expect(responsesUrl({ protocol: "https:", host: "a.example" })).toBe("wss://a.example/v1/responses");
});
