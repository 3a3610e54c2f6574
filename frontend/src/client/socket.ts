/** The shell: binds the state machine to a WebSocket, a clock and one timer. */

import type { Ask } from "./answer.ts";
import { decode, type Request, type ResponseEvent } from "./events.ts";
import { reduce } from "./machine.ts";
import { type Effect, type Event, INITIAL, type State, wakeAt } from "./state.ts";

/** What the shell needs of the world; the defaults are the browser's. */
export interface Surroundings {
  open(url: string, protocols: string[]): WebSocket;
  now(): number;
  random(): number;
}

export interface StreamClientOptions {
  /** `ws:` or `wss:` address of `/v1/responses`. */
  readonly url: string;
  /** Called after each change, at most once per event. */
  readonly onChange: (state: State) => void;
  /** Called with each event that the answer took, once and in order, and when it came. */
  readonly onTaken?: (event: ResponseEvent, now: number) => void;
  /**
   * Fetches a ticket for each new socket, where the server asks for a credential (`POST /v1/ws-tickets`); undefined
   * where it does not.  One that fails counts as a lost link and is tried again; reject with `Unauthorised` where that
   * is no use.
   */
  readonly ticket?: () => Promise<string | undefined>;
  readonly surroundings?: Surroundings;
}

/** The server lets this page in no more, whatever it tries. */
export class Unauthorised extends Error {}

const PROTOCOL = "tokenwire.v1";
const TICKET = "tokenwire.ticket.";

const BROWSER: Surroundings = {
  open: (url, protocols) => new WebSocket(url, protocols),
  now: () => performance.now(),
  random: () => Math.random(),
};

/** A stream client: `ask`, `restore`, `stop`, `leave`; all it knows is in `state`. */
export class StreamClient {
  readonly #url: string;
  readonly #onChange: (state: State) => void;
  readonly #onTaken: (event: ResponseEvent, now: number) => void;
  readonly #ticket: (() => Promise<string | undefined>) | undefined;
  readonly #world: Surroundings;
  readonly #sockets = new Map<number, WebSocket>();
  /** Links whose ticket is on its way. */
  readonly #awaited = new Set<number>();
  #state: State = INITIAL;
  #timer: { readonly at: number; readonly handle: ReturnType<typeof setTimeout> } | undefined;

  constructor({ url, onChange, onTaken = () => {}, ticket, surroundings = BROWSER }: StreamClientOptions) {
    this.#url = url;
    this.#onChange = onChange;
    this.#onTaken = onTaken;
    this.#ticket = ticket;
    this.#world = surroundings;
  }

  get state(): State {
    return this.#state;
  }

  /** Ask for a response.  Throws while another one is in flight. */
  ask(request: Request, key: string = newKey()): void {
    const ask: Ask = { request, key };
    this.#dispatch({ type: "ask", ask });
  }

  /** Read a response that exists already, from its first event on. */
  restore(responseId: string): void {
    this.#dispatch({ type: "restore", responseId });
  }

  /** End the response in flight, for all who watch it. */
  stop(): void {
    this.#dispatch({ type: "stop" });
  }

  /** Look away: forget the answer and let the socket go.  It does not stop the response. */
  leave(): void {
    this.#dispatch({ type: "leave" });
  }

  /** Say that the network is back: what waits, tries again now. */
  online(): void {
    this.#dispatch({ type: "online" });
  }

  #dispatch(event: Event): void {
    const moment = { now: this.#world.now(), random: this.#world.random() };
    const before = this.#state;
    const { state, effects } = reduce(before, event, moment);
    const changed = state !== before;
    this.#state = state;
    if (event.type === "received" && state.answer?.last !== before.answer?.last)
      this.#onTaken(event.event as ResponseEvent, moment.now);
    for (const effect of effects) this.#perform(effect);
    this.#arm();
    if (changed) this.#onChange(state);
  }

  #perform(effect: Effect): void {
    switch (effect.type) {
      case "connect":
        this.#connect(effect.link);
        break;
      case "send":
        this.#sockets.get(effect.link)?.send(JSON.stringify(effect.message));
        break;
      case "close":
        this.#sockets.get(effect.link)?.close(1000);
        this.#sockets.delete(effect.link);
        this.#awaited.delete(effect.link);
        break;
    }
  }

  #connect(link: number): void {
    if (this.#ticket === undefined) {
      this.#open(link, []);
      return;
    }
    this.#awaited.add(link);
    this.#ticket().then(
      (ticket) => {
        const protocols = ticket === undefined ? [] : [PROTOCOL, TICKET + ticket];
        if (this.#awaited.delete(link)) this.#open(link, protocols);
      },
      (reason: unknown) => {
        const code = reason instanceof Unauthorised ? 1008 : 1006;
        if (this.#awaited.delete(link)) this.#dispatch({ type: "closed", link, code });
      },
    );
  }

  #open(link: number, protocols: string[]): void {
    const socket = this.#world.open(this.#url, protocols);
    this.#sockets.set(link, socket);
    socket.onopen = () => this.#dispatch({ type: "opened", link });
    socket.onmessage = ({ data }) => this.#dispatch({ type: "received", link, event: decode(data) });
    socket.onclose = ({ code }) => {
      this.#sockets.delete(link);
      this.#dispatch({ type: "closed", link, code });
    };
  }

  /** Keep one timer.  A later deadline does not move it: it fires, finds itself early, and is set anew. */
  #arm(): void {
    const at = wakeAt(this.#state);
    if (this.#timer !== undefined && at !== undefined && this.#timer.at <= at) return;
    if (this.#timer !== undefined) clearTimeout(this.#timer.handle);
    this.#timer =
      at === undefined ? undefined : { at, handle: setTimeout(() => this.#wake(), this.#until(at)) };
  }

  #until(at: number): number {
    return Math.max(0, Math.ceil(at - this.#world.now()));
  }

  #wake(): void {
    this.#timer = undefined;
    this.#dispatch({ type: "tick" });
  }
}

/** Make an idempotency key of 128 random bits.  (`randomUUID` exists on secure origins only.) */
export function newKey(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Return the address of `/v1/responses` on the host that served the page. */
export function responsesUrl({ protocol, host }: { protocol: string; host: string }): string {
  return `${protocol === "https:" ? "wss:" : "ws:"}//${host}/v1/responses`;
}
