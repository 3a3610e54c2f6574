/**
 * Whatever is lost, repeated, merged, garbled or cut on the way: the same text, once, in order.
 *
 * A server with a log stands against the machine; between them a network does what fast-check draws.
 */

import fc from "fast-check";
import { expect, test } from "vitest";
import {
  type ClientMessage,
  type Event,
  INITIAL,
  inFlight,
  type ResponseEvent,
  reduce,
  type ServerEvent,
  type State,
  wakeAt,
} from "../../src/client/index.ts";
import { CANCELLED, isDelta, logOf, merged } from "./wire.ts";

type Fault =
  | { readonly kind: "deliver" | "lose" | "repeat" | "garble" | "hush" | "online" | "stop" | "expire" }
  | { readonly kind: "replay" | "merge"; readonly count: number }
  | { readonly kind: "cut"; readonly code: number };

const faults: fc.Arbitrary<Fault> = fc.oneof(
  { weight: 8, arbitrary: fc.constant<Fault>({ kind: "deliver" }) },
  fc.constantFrom<Fault>({ kind: "lose" }, { kind: "repeat" }, { kind: "garble" }, { kind: "hush" }),
  fc.constantFrom<Fault>({ kind: "online" }, { kind: "expire" }),
  fc.record({
    kind: fc.constantFrom("replay" as const, "merge" as const),
    count: fc.integer({ min: 1, max: 5 }),
  }),
  fc.record({
    kind: fc.constant("cut" as const),
    code: fc.constantFrom(1000, 1001, 1005, 1006, 1011, 1012, 1013),
  }),
);
const texts = fc.array(fc.string({ unit: "grapheme", minLength: 1, maxLength: 4 }), { maxLength: 30 });

/** Holds the log and the sockets; delivers one event a turn, through the next fault of the script. */
class World {
  state: State = INITIAL;
  log: ResponseEvent[];
  readonly keys = new Set<string>();
  endings = 0;
  #now = 0;
  #script: Fault[];
  /** Position in the log of the one open socket, if any. */
  #reading: { link: number; at: number } | undefined;
  #connecting: number | undefined;
  /** A socket on which a create was asked was silent until it was replaced. */
  #wasSilent = false;

  constructor(pieces: readonly string[], script: readonly Fault[]) {
    this.log = logOf(pieces);
    this.#script = [...script];
  }

  run(): void {
    this.#tell({ type: "ask", ask: { request: { input: "?" }, key: "k" } });
    for (let turn = 0; inFlight(this.state); turn += 1) {
      if (turn > 2_000) throw new Error("the answer never ended");
      this.#turn();
    }
  }

  #turn(): void {
    const fault = this.#bearable(this.#script.shift() ?? { kind: "deliver" });
    if (fault.kind === "online" || fault.kind === "stop") this.#tell({ type: fault.kind });
    else if (this.#connecting !== undefined) this.#handshake(fault, this.#connecting);
    else if (this.#reading !== undefined) this.#deliver(fault, this.#reading);
    else this.#sleep();
  }

  /** Before anything was answered one silence is trouble; a minute of them is a server that is given up on. */
  #bearable(fault: Fault): Fault {
    const isUnanswered = this.state.answer?.id === undefined;
    const isSilence = fault.kind === "hush" || fault.kind === "lose";
    return isUnanswered && isSilence && this.#wasSilent ? { kind: "deliver" } : fault;
  }

  #sleep(): void {
    if (this.state.link.kind === "open" && this.state.answer?.id === undefined) this.#wasSilent = true;
    const due = wakeAt(this.state);
    if (due === undefined) throw new Error("in flight, and nothing to wait for");
    this.#now = Math.max(this.#now, due);
    this.#tell({ type: "tick" });
  }

  #handshake(fault: Fault, link: number): void {
    this.#connecting = undefined;
    if (fault.kind === "cut") this.#tell({ type: "closed", link, code: 1006 });
    else if (fault.kind !== "hush") this.#tell({ type: "opened", link });
  }

  #deliver(fault: Fault, reading: { link: number; at: number }): void {
    const { link, at } = reading;
    switch (fault.kind) {
      case "lose":
        reading.at += 1;
        return;
      case "hush": // half-open: neither side hears of it
        this.#reading = undefined;
        return;
      case "cut":
        this.#reading = undefined;
        this.#tell({ type: "closed", link, code: fault.code });
        return;
      case "garble":
        this.#say(link, { type: "malformed" });
        return;
      case "expire":
        this.#say(link, {
          type: "error",
          error: { code: "websocket_connection_limit_reached", message: "Over." },
        });
        return;
      case "replay":
        for (const event of this.log.slice(Math.max(0, at - fault.count), at)) this.#say(link, event);
        return;
      case "merge":
        this.#merge(reading, fault.count);
        return;
      case "repeat":
        this.#next(reading);
        for (const event of this.log.slice(at, at + 1)) this.#say(link, event);
        return;
      default:
        this.#next(reading);
    }
  }

  #merge(reading: { link: number; at: number }, count: number): void {
    const deltas = this.log.slice(reading.at, reading.at + count);
    if (deltas.length > 0 && deltas.every(isDelta)) {
      reading.at += deltas.length;
      this.#say(reading.link, merged(deltas));
    } else this.#next(reading);
  }

  #next(reading: { link: number; at: number }): void {
    const event = this.log[reading.at];
    if (event === undefined) {
      this.#sleep(); // all was sent, and something lost: silence
    } else {
      reading.at += 1;
      this.#say(reading.link, event);
    }
  }

  #say(link: number, event: ServerEvent): void {
    this.#tell({ type: "received", link, event });
  }

  #tell(event: Event): void {
    const before = this.state.answer;
    const { state, effects } = reduce(this.state, event, { now: this.#now, random: 0.5 });
    this.#now += 1;
    this.state = state;
    if (before?.outcome !== state.answer?.outcome) this.endings += 1;
    for (const effect of effects) {
      if (effect.type === "connect") this.#connecting = effect.link;
      else if (effect.type === "close") this.#hungUp();
      else this.#heard(effect.link, effect.message);
    }
  }

  #hungUp(): void {
    this.#reading = undefined;
    this.#connecting = undefined;
  }

  #heard(link: number, message: ClientMessage): void {
    switch (message.type) {
      case "response.create":
        this.keys.add(message.idempotency_key);
        this.#reading = { link, at: 0 };
        break;
      case "response.resume":
        this.#reading = { link, at: message.starting_after + 1 };
        break;
      case "response.cancel":
        this.#cancel();
        break;
    }
  }

  /** End the log where the reader stands; what comes after was not computed. */
  #cancel(): void {
    const told = this.log.slice(0, Math.max(this.#reading?.at ?? 0, (this.state.answer?.last ?? -1) + 1));
    if (told.length === this.log.length) return;
    const deltas = told.filter(isDelta).map((event) => event.delta);
    if (told.length <= 4 + deltas.length) this.log = logOf(deltas, CANCELLED);
  }
}

test("any loss, duplication, merge, cut or silence: the same text and one ending", () => {
  fc.assert(
    fc.property(texts, fc.array(faults, { maxLength: 60 }), (pieces, script) => {
      const world = new World(pieces, script);
      world.run();
      const { answer } = world.state;
      expect(answer?.text).toBe(pieces.join(""));
      expect(answer?.deltas).toBe(pieces.length);
      expect(answer?.last).toBe(world.log.length - 1);
      expect(answer?.outcome?.status).toBe("completed");
      expect(world.endings).toBe(1);
      expect(world.keys.size).toBe(1);
    }),
    { numRuns: 2_000 },
  );
});

test("stopped at any moment among any faults: the log's text and one ending", () => {
  const scripts = fc.tuple(fc.array(faults, { maxLength: 25 }), fc.array(faults, { maxLength: 25 }));
  fc.assert(
    fc.property(texts, scripts, (pieces, [before, after]) => {
      const world = new World(pieces, [...before, { kind: "stop" }, ...after]);
      world.run();
      const { answer } = world.state;
      const logged = world.log.filter(isDelta).map((event) => event.delta);
      expect(pieces.join("").startsWith(answer?.text ?? "")).toBe(true);
      if (answer?.id !== undefined) expect(answer.text).toBe(logged.join(""));
      expect(["cancelled", "completed"]).toContain(answer?.outcome?.status);
      expect(world.endings).toBe(1);
    }),
    { numRuns: 1_000 },
  );
});
