/** The test vectors that every client of this protocol shares: docs/vectors/streams.json. */

import { expect, test } from "vitest";
import vectors from "../../../docs/vectors/streams.json" with { type: "json" };
import {
  type ClientMessage,
  decode,
  type Event,
  INITIAL,
  inFlight,
  reduce,
  type State,
  wakeAt,
} from "../../src/client/index.ts";

interface Step {
  readonly open?: boolean;
  readonly receive?: unknown;
  readonly receive_text?: string;
  readonly close?: number;
  readonly unreachable?: boolean;
  readonly silence?: boolean;
  readonly stop?: boolean;
}

/** A machine with one socket, and notes of what it said. */
class Client {
  state: State = INITIAL;
  readonly sent: ClientMessage[] = [];
  #now = 0;

  constructor() {
    this.tell({ type: "ask", ask: { request: { input: "?" }, key: "key" } });
  }

  take(step: Step): void {
    if (step.open) this.tell({ type: "opened", link: this.#dialled() });
    else if (step.unreachable) this.tell({ type: "closed", link: this.#dialled(), code: 1006 });
    else if (step.receive !== undefined) this.#hear(JSON.stringify(step.receive));
    else if (step.receive_text !== undefined) this.#hear(step.receive_text);
    else if (step.close !== undefined) this.#lose(step.close);
    else if (step.silence) this.#sleep();
    else if (step.stop) this.tell({ type: "stop" });
    else throw new Error(`unknown step ${JSON.stringify(step)}`);
  }

  tell(event: Event): void {
    const { state, effects } = reduce(this.state, event, { now: this.#now, random: 0.5 });
    this.state = state;
    for (const effect of effects) if (effect.type === "send") this.sent.push(effect.message);
  }

  /** The socket that the client is opening; it may have to wait for its time first. */
  #dialled(): number {
    if (this.state.link.kind === "waiting") this.#sleep();
    if (this.state.link.kind !== "connecting") throw new Error("it has no reason to open a socket");
    return this.state.link.id;
  }

  #hear(frame: string): void {
    if (this.state.link.kind === "open") {
      this.tell({ type: "received", link: this.state.link.id, event: decode(frame) });
    }
  }

  #lose(code: number): void {
    if (this.state.link.kind !== "open") throw new Error("there is no socket to lose");
    this.tell({ type: "closed", link: this.state.link.id, code });
  }

  #sleep(): void {
    this.#now = Math.max(this.#now, wakeAt(this.state) ?? this.#now);
    this.tell({ type: "tick" });
  }
}

function ending({ answer }: State): string | undefined {
  const outcome = answer?.outcome;
  return outcome?.status === "failed" ? `failed:${outcome.code}` : outcome?.status;
}

test.each(vectors.cases)("$name", ({ steps, expect: expected }) => {
  const client = new Client();
  for (const step of steps as readonly Step[]) client.take(step);
  expect(client.state.answer?.text).toBe(expected.text);
  expect(client.state.answer?.last).toBe(expected.last);
  expect(ending(client.state)).toBe(expected.ending);
  expect(inFlight(client.state)).toBe(false);
  expect(client.sent).toHaveLength(expected.sent.length);
  expect(client.sent).toMatchObject(expected.sent);
  const keys = client.sent.flatMap((message) =>
    message.type === "response.create" ? [message.idempotency_key] : [],
  );
  expect(new Set(keys)).toEqual(new Set(["key"]));
});
