/** What the stream client knows, what may happen to it, and what it wants done. */

import type { Answer, Ask } from "./answer.ts";
import type { ClientMessage, ServerEvent } from "./events.ts";

/** A handshake that takes longer is given up, in milliseconds. */
export const CONNECT_MS = 10_000;
/** A socket that is silent for so long in mid-answer is replaced: it may be dead without our knowing. */
const QUIET_MS = 30_000;

export type Link =
  | { readonly kind: "none" }
  | { readonly kind: "connecting"; readonly id: number; readonly until: number }
  | { readonly kind: "open"; readonly id: number; readonly heardAt: number; readonly proven: boolean }
  | { readonly kind: "waiting"; readonly until: number };

export interface State {
  readonly link: Link;
  /** Number of the newest socket; what older ones still say is not heard. */
  readonly links: number;
  /** Tries since an event was last taken: 0 while all is well. */
  readonly attempt: number;
  /** When the link was lost; undefined while all is well. */
  readonly lostAt?: number;
  /** Since when the server has said nothing of the answer, whatever number of sockets it took; undefined while it does. */
  readonly silentSince?: number;
  readonly answer?: Answer;
}

export type Event =
  | { readonly type: "ask"; readonly ask: Ask }
  | { readonly type: "restore"; readonly responseId: string }
  | { readonly type: "stop" }
  /** Nobody looks any more; the response goes on without us. */
  | { readonly type: "leave" }
  /** The machine's network is back. */
  | { readonly type: "online" }
  | { readonly type: "opened"; readonly link: number }
  | { readonly type: "received"; readonly link: number; readonly event: ServerEvent }
  | { readonly type: "closed"; readonly link: number; readonly code: number }
  /** The time of `wakeAt` has come. */
  | { readonly type: "tick" };

export type Effect =
  | { readonly type: "connect"; readonly link: number }
  | { readonly type: "send"; readonly link: number; readonly message: ClientMessage }
  | { readonly type: "close"; readonly link: number };

/** When something happens: milliseconds of a steady clock, and a fresh random number in [0, 1). */
export interface Moment {
  readonly now: number;
  readonly random: number;
}

export interface Step {
  readonly state: State;
  readonly effects: readonly Effect[];
}

export const INITIAL: State = { link: { kind: "none" }, links: 0, attempt: 0 };

/** True while a response has been asked for and has not ended. */
export function inFlight(state: State): boolean {
  return state.answer !== undefined && state.answer.phase !== "ended";
}

/** Return the time at which a `tick` is due, or undefined if nothing is waited for. */
export function wakeAt(state: State): number | undefined {
  const { link } = state;
  switch (link.kind) {
    case "none":
      return undefined;
    case "connecting":
    case "waiting":
      return link.until;
    case "open":
      return inFlight(state) ? link.heardAt + QUIET_MS : undefined;
  }
}
