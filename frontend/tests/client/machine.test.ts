import { describe, expect, test } from "vitest";
import {
  type Effect,
  type ErrorEvent,
  type Event,
  INITIAL,
  inFlight,
  reduce,
  type ServerEvent,
  type State,
  wakeAt,
} from "../../src/client/index.ts";
import { CANCELLED, ID, logOf } from "./wire.ts";

const ASK = { request: { input: "Hello" }, key: "k1" };
const CREATE = { type: "response.create", event_id: "k1", input: "Hello", idempotency_key: "k1" };
const CANCEL = { type: "response.cancel", event_id: "cancel", response_id: ID };
const LOG = logOf(["a", "b", "c", "d"]);

/** Drives the machine by hand and keeps what it wanted done. */
class Driver {
  state: State = INITIAL;
  now = 1_000;
  effects: Effect[] = [];

  /** Feed one event; return its effects. */
  do(event: Event): readonly Effect[] {
    const step = reduce(this.state, event, { now: this.now, random: 0.5 });
    this.state = step.state;
    this.effects.push(...step.effects);
    return step.effects;
  }

  /** Everything sent in answer to `event`. */
  sent(event: Event): unknown[] {
    return this.do(event).flatMap((effect) => (effect.type === "send" ? [effect.message] : []));
  }

  receive(...events: ServerEvent[]): readonly Effect[] {
    return events.flatMap((event) => this.do({ type: "received", link: this.state.links, event }));
  }

  refuse(code: string, more: Partial<ErrorEvent> = {}): readonly Effect[] {
    return this.receive({ type: "error", status: 400, error: { code, message: `It is ${code}.` }, ...more });
  }

  close(code: number): readonly Effect[] {
    return this.do({ type: "closed", link: this.state.links, code });
  }

  open(): unknown[] {
    return this.sent({ type: "opened", link: this.state.links });
  }

  /** Let time pass up to the next wake-up. */
  wake(): readonly Effect[] {
    this.now = wakeAt(this.state) ?? Number.NaN;
    return this.do({ type: "tick" });
  }

  get outcome() {
    return this.state.answer?.outcome;
  }

  get seen() {
    const { link, attempt, answer } = this.state;
    return { link: link.kind, attempt, phase: answer?.phase, text: answer?.text };
  }
}

/** A driver whose answer is under way: the first `count` events of the log have come. */
function underWay(count = 6): Driver {
  const driver = new Driver();
  driver.do({ type: "ask", ask: ASK });
  driver.open();
  driver.receive(...LOG.slice(0, count));
  return driver;
}

describe("asking", () => {
  test("connects, and asks once the socket is open", () => {
    const driver = new Driver();
    expect(driver.do({ type: "ask", ask: ASK })).toEqual([{ type: "connect", link: 1 }]);
    expect(driver.open()).toEqual([CREATE]);
  });

  test("an answer runs from asked over queued and generating to its end", () => {
    const driver = underWay(0);
    const phases = LOG.map((event) => {
      driver.receive(event);
      return driver.state.answer?.phase;
    });
    expect(new Set(phases)).toEqual(new Set(["queued", "generating", "ended"]));
    expect(driver.state.answer).toMatchObject({ text: "abcd", deltas: 4, resumes: 0 });
    expect(inFlight(driver.state)).toBe(false);
  });

  test("the next answer uses the same socket", () => {
    const driver = underWay(LOG.length);
    expect(driver.sent({ type: "ask", ask: { ...ASK, key: "k2" } })).toEqual([
      { ...CREATE, event_id: "k2", idempotency_key: "k2" },
    ]);
  });

  test("a second answer beside one in flight is a mistake of the caller", () => {
    expect(() => underWay().do({ type: "ask", ask: ASK })).toThrow("One response at a time");
  });

  test.each(["queue_full", "overloaded", "model_not_found", "rate_limit_exceeded"])(
    "%s refuses it at once",
    (code) => {
      const driver = underWay(0);
      expect(driver.refuse(code)).toEqual([]);
      expect(driver.outcome).toEqual({ status: "failed", code, sentence: `It is ${code}.` });
      expect(driver.seen.link).toBe("open");
    },
  );

  test.each(["server_draining", "backend_unavailable"])(
    "%s sends it elsewhere, under the same key",
    (code) => {
      const driver = underWay(0);
      expect(driver.refuse(code)).toEqual([{ type: "close", link: 1 }]);
      expect(driver.wake()).toEqual([{ type: "connect", link: 2 }]);
      expect(driver.open()).toEqual([CREATE]);
    },
  );

  test("a refusal says when asking again makes sense", () => {
    const driver = underWay(0);
    driver.refuse("overloaded", { error: { code: "overloaded", message: "Full.", retry_after: 7 } });
    expect(driver.outcome).toMatchObject({ sentence: "Full.", retryAfter: 7 });
  });

  test("a late error about the answer before does not refuse this one", () => {
    const driver = underWay(LOG.length);
    driver.do({ type: "ask", ask: { ...ASK, key: "k2" } });
    for (const event_id of ["cancel", "resume", "k1"]) driver.refuse("overloaded", { event_id });
    expect(driver.outcome).toBeUndefined();
    driver.refuse("overloaded", { event_id: "k2" });
    expect(driver.outcome?.status).toBe("failed");
  });

  test("a socket lost before the response has a name asks again under the same key", () => {
    const driver = underWay(0);
    driver.close(1006);
    driver.wake();
    expect(driver.open()).toEqual([CREATE]);
  });
});

describe("numbers", () => {
  test("a duplicate is dropped", () => {
    const driver = underWay();
    expect(driver.receive(...LOG.slice(0, 6))).toEqual([]);
    expect(driver.seen).toMatchObject({ link: "open", text: "ab" });
  });

  test("a gap is filled by reading on from the cursor on a new socket", () => {
    const driver = underWay();
    expect(driver.receive(...LOG.slice(7, 8))).toEqual([{ type: "close", link: 1 }]);
    driver.wake();
    const { epoch } = driver.state.answer ?? {};
    expect(driver.open()).toEqual([
      { type: "response.resume", event_id: "resume", response_id: ID, starting_after: 5, epoch },
    ]);
    driver.receive(...LOG.slice(6));
    expect(driver.state.answer).toMatchObject({ text: "abcd", resumes: 1 });
  });

  test("a malformed frame is a gap", () => {
    const driver = underWay();
    expect(driver.receive({ type: "malformed" })).toEqual([{ type: "close", link: 1 }]);
  });

  test("what an old socket still says is not heard", () => {
    const driver = underWay();
    driver.close(1006);
    driver.wake();
    driver.open();
    for (const event of LOG.slice(6)) driver.do({ type: "received", link: 1, event });
    driver.do({ type: "closed", link: 1, code: 1006 });
    driver.do({ type: "opened", link: 1 });
    expect(driver.seen).toMatchObject({ link: "open", text: "ab" });
  });

  test("nothing follows the ending", () => {
    const driver = underWay(LOG.length);
    const { answer } = driver.state;
    driver.receive(...LOG, ...logOf(["x"], CANCELLED));
    driver.refuse("server_draining");
    driver.receive({ type: "malformed" });
    expect(driver.state.answer).toBe(answer);
  });
});

describe("a lost socket", () => {
  test.each([1000, 1001, 1005, 1006, 1011, 1012, 1013, 1015])(
    "closed with %i comes back and reads on",
    (code) => {
      const driver = underWay();
      driver.close(code);
      expect(driver.seen).toMatchObject({ link: "waiting", attempt: 1, text: "ab" });
      driver.wake();
      expect(driver.open()).toMatchObject([{ type: "response.resume", starting_after: 5 }]);
      driver.receive(...LOG.slice(6));
      expect(driver.state.answer).toMatchObject({ text: "abcd", resumes: 1, resumedAt: 2 });
      expect(driver.seen.attempt).toBe(0);
    },
  );

  test.each([1002, 1008, 1009, 4000, 4401])("closed with %i is final and says why", (code) => {
    const driver = underWay();
    driver.close(code);
    expect(driver.outcome).toMatchObject({ status: "failed", code: "connection_refused" });
    expect(driver.seen).toMatchObject({ link: "none", text: "ab" });
  });

  test("is not replaced while nothing is in flight", () => {
    const driver = underWay(LOG.length);
    expect(driver.close(1006)).toEqual([]);
    expect(driver.seen.link).toBe("none");
    expect(wakeAt(driver.state)).toBeUndefined();
    expect(driver.do({ type: "ask", ask: ASK })).toEqual([{ type: "connect", link: 2 }]);
  });

  test("waits longer after each failure, until an event comes", () => {
    const driver = underWay();
    const waits = [1, 2, 3].map(() => {
      driver.close(1006);
      const wait = (wakeAt(driver.state) ?? Number.NaN) - driver.now;
      driver.wake();
      driver.open();
      return wait;
    });
    expect(waits).toEqual([187.5, 375, 750]);
    driver.receive(...LOG.slice(6, 7));
    expect(driver.seen.attempt).toBe(0);
  });

  test("is given up after ten minutes with a sentence", () => {
    const driver = underWay();
    const begun = driver.now;
    while (inFlight(driver.state) && driver.now < begun + 3_600_000) {
      driver.close(1006);
      if (driver.seen.link === "waiting") driver.wake();
    }
    expect(driver.outcome).toMatchObject({ status: "failed", code: "unreachable" });
    expect(driver.now - begun).toBeGreaterThanOrEqual(600_000);
    expect(driver.now - begun).toBeLessThan(620_000);
  });

  test("is tried again at once when the network is back", () => {
    const driver = underWay();
    driver.close(1006);
    expect(driver.do({ type: "online" })).toEqual([{ type: "connect", link: 2 }]);
  });

  test("that only looks open after an outage is replaced, and the user is told", () => {
    const driver = underWay();
    const effects = driver.do({ type: "online" });
    expect(effects).toEqual([
      { type: "close", link: 1 },
      { type: "connect", link: 2 },
    ]);
    driver.open();
    driver.receive(...LOG.slice(6, 7));
    expect(driver.state.answer).toMatchObject({ resumes: 1, resumedAt: 2 });
  });

  test("the network's return means nothing while nothing is in flight", () => {
    expect(underWay(LOG.length).do({ type: "online" })).toEqual([]);
  });
});

describe("time", () => {
  test("a handshake that takes too long is given up and tried again", () => {
    const driver = new Driver();
    driver.do({ type: "ask", ask: ASK });
    expect(driver.wake()).toEqual([{ type: "close", link: 1 }]);
    expect(driver.wake()).toEqual([{ type: "connect", link: 2 }]);
  });

  test("a socket that is silent in mid-answer is replaced without a word", () => {
    const driver = underWay();
    expect(driver.wake()).toEqual([
      { type: "close", link: 1 },
      { type: "connect", link: 2 },
    ]);
    driver.open();
    driver.receive(...LOG.slice(6));
    expect(driver.state.answer).toMatchObject({ text: "abcd", resumes: 0 });
  });

  test.each([
    ["never answers the create", 0, 60_000],
    ["has named the answer and says no more", 6, 600_000],
  ])("a server that takes sockets and %s is given up in the end", (_, events, longest) => {
    const driver = underWay(events);
    const began = driver.now;
    while (driver.outcome === undefined && driver.now < began + 2 * longest) {
      driver.wake();
      driver.open();
    }
    expect(driver.now - began).toBe(longest);
    expect(driver.outcome).toEqual({
      status: "failed",
      code: "unreachable",
      sentence: "The server takes connections and says nothing.",
    });
    expect(driver.effects.at(-1)).toEqual({ type: "close", link: driver.state.links });
    expect(driver.do({ type: "ask", ask: { ...ASK, key: "k2" } })).toHaveLength(1);
    driver.open();
    driver.now += 30_000;
    driver.receive(...LOG);
    expect(driver.outcome?.status).toBe("completed");
  });

  test("a word from the server ends its silence", () => {
    const driver = underWay(2);
    for (const event of LOG.slice(2, 6)) {
      for (let silence = 0; silence < 15; silence++) {
        driver.wake();
        driver.open();
      }
      driver.receive(event);
    }
    expect(driver.seen).toMatchObject({ link: "open", text: "ab" });
  });

  test("each frame puts the silence off", () => {
    const driver = underWay();
    const before = wakeAt(driver.state);
    driver.now += 5_000;
    driver.receive({ type: "unknown", name: "x" });
    expect(wakeAt(driver.state)).toBe((before ?? 0) + 5_000);
  });

  test("an early tick does nothing", () => {
    const driver = underWay();
    expect(driver.do({ type: "tick" })).toEqual([]);
  });
});

describe("the session's limit", () => {
  const over = "websocket_connection_limit_reached";

  test("in mid-answer changes the socket at once and silently", () => {
    const driver = underWay();
    expect(driver.refuse(over)).toEqual([
      { type: "close", link: 1 },
      { type: "connect", link: 2 },
    ]);
    expect(driver.seen.attempt).toBe(0);
    driver.open();
    driver.receive(...LOG.slice(6));
    expect(driver.state.answer).toMatchObject({ text: "abcd", resumes: 0 });
  });

  test("between answers lets the socket go", () => {
    const driver = underWay(LOG.length);
    expect(driver.refuse(over)).toEqual([{ type: "close", link: 1 }]);
    expect(driver.seen.link).toBe("none");
  });

  test("on a socket that never showed anything is no reason to hurry", () => {
    const driver = underWay(0);
    expect(driver.refuse(over)).toEqual([{ type: "close", link: 1 }]);
    expect(driver.seen).toMatchObject({ link: "waiting", attempt: 1 });
  });
});

describe("leave", () => {
  test("lets go of the socket and the answer, and stops nothing", () => {
    const driver = new Driver();
    driver.do({ type: "ask", ask: ASK });
    driver.open();
    driver.receive(...LOG.slice(0, 5));
    expect(driver.do({ type: "leave" })).toEqual([{ type: "close", link: 1 }]);
    expect(driver.state).toEqual({ ...INITIAL, links: 1 });
  });

  test("ends the waiting for a lost link", () => {
    const driver = new Driver();
    driver.do({ type: "ask", ask: ASK });
    driver.close(1006);
    driver.do({ type: "leave" });
    expect(wakeAt(driver.state)).toBeUndefined();
    expect(driver.sent({ type: "ask", ask: ASK })).toEqual([]);
    expect(inFlight(driver.state)).toBe(true);
  });
});

describe("stop", () => {
  test("cancels the response, and its ending is the server's", () => {
    const driver = underWay();
    expect(driver.sent({ type: "stop" })).toEqual([CANCEL]);
    expect(driver.state.answer).toMatchObject({ stopping: true, phase: "generating" });
    driver.receive(...logOf(["a", "b"], CANCELLED).slice(6));
    expect(driver.outcome?.status).toBe("cancelled");
    expect(driver.state.answer?.stopping).toBe(false);
  });

  test("pressed twice is sent once", () => {
    const driver = underWay();
    driver.do({ type: "stop" });
    expect(driver.do({ type: "stop" })).toEqual([]);
  });

  test("before the response has a name is sent as soon as it has one", () => {
    const driver = underWay(0);
    expect(driver.sent({ type: "stop" })).toEqual([]);
    expect(driver.receive(...LOG.slice(0, 1))).toEqual([{ type: "send", link: 1, message: CANCEL }]);
  });

  test("before anything was sent ends it here", () => {
    const driver = new Driver();
    driver.do({ type: "ask", ask: ASK });
    expect(driver.do({ type: "stop" })).toEqual([{ type: "close", link: 1 }]);
    expect(driver.outcome?.status).toBe("cancelled");
    expect(wakeAt(driver.state)).toBeUndefined();
  });

  test("while the server is unreachable and nothing was ever sent ends it here", () => {
    const driver = new Driver();
    driver.do({ type: "ask", ask: ASK });
    driver.close(1006);
    driver.do({ type: "stop" });
    expect(driver.outcome?.status).toBe("cancelled");
    expect(driver.seen).toMatchObject({ link: "none", attempt: 0 });
  });

  test("while the socket is lost is sent with the resume", () => {
    const driver = underWay();
    driver.close(1006);
    expect(driver.sent({ type: "stop" })).toEqual([]);
    driver.wake();
    expect(driver.open()).toMatchObject([{ type: "response.resume" }, CANCEL]);
  });

  test("that came after the ending waits for the ending", () => {
    const driver = underWay();
    driver.close(1006);
    driver.do({ type: "stop" });
    driver.wake();
    driver.open();
    expect(driver.refuse("response_not_active")).toEqual([]);
    driver.receive(...LOG.slice(6));
    expect(driver.outcome?.status).toBe("completed");
  });

  test("that is refused may be pressed again", () => {
    const driver = underWay();
    driver.do({ type: "stop" });
    driver.refuse("rate_limit_exceeded", { event_id: "cancel" });
    expect(driver.sent({ type: "stop" })).toEqual([CANCEL]);
  });

  test("without an answer does nothing", () => {
    expect(new Driver().do({ type: "stop" })).toEqual([]);
  });
});

describe("reading on", () => {
  function restoring(): Driver {
    const driver = new Driver();
    driver.do({ type: "restore", responseId: ID });
    return driver;
  }

  test("after a reload begins with the first event", () => {
    const driver = restoring();
    expect(driver.open()).toEqual([
      { type: "response.resume", event_id: "resume", response_id: ID, starting_after: -1 },
    ]);
    driver.receive(...LOG);
    expect(driver.state.answer).toMatchObject({ text: "abcd", phase: "ended" });
  });

  test.each(["resume_unavailable", "response_not_found", "starting_after_out_of_range"])(
    "%s is final",
    (code) => {
      const driver = underWay();
      driver.close(1006);
      driver.wake();
      driver.open();
      expect(driver.refuse(code)).toEqual([{ type: "close", link: 2 }]);
      expect(driver.outcome).toEqual({ status: "failed", code, sentence: `It is ${code}.` });
      expect(driver.seen.text).toBe("ab");
    },
  );

  test.each(["overloaded", "no_worker", "rate_limit_exceeded", "backend_unavailable"])(
    "%s is waited out",
    (code) => {
      const driver = restoring();
      driver.open();
      expect(driver.refuse(code)).toEqual([{ type: "close", link: 1 }]);
      driver.wake();
      expect(driver.open()).toMatchObject([{ type: "response.resume" }]);
    },
  );

  test("a refusal without a known reason ends it instead of hanging", () => {
    const driver = restoring();
    driver.open();
    driver.refuse("unsupported_event");
    expect(driver.outcome).toMatchObject({ status: "failed", code: "unsupported_event" });
  });

  test("an error about an answer that runs, without a known reason, is met by reading on", () => {
    const driver = underWay();
    expect(driver.refuse("server_error", { event_id: "k1" })).toEqual([{ type: "close", link: 1 }]);
    driver.wake();
    expect(driver.open()).toMatchObject([{ type: "response.resume", starting_after: 5 }]);
  });

  test("an error about something else does not touch an answer that runs", () => {
    const driver = underWay();
    driver.refuse("invalid_json");
    driver.receive(...LOG.slice(6));
    expect(driver.outcome?.status).toBe("completed");
  });
});
