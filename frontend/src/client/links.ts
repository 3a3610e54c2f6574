/** The moves between sockets: connect, change, leave, come back, give up. */

import { type Answer, type Failure, failed } from "./answer.ts";
import { backoff } from "./closing.ts";
import type { ClientMessage } from "./events.ts";
import { CONNECT_MS, type Effect, type Moment, type State, type Step } from "./state.ts";

/** How long a lost link is tried again; the server keeps a log about as long after its ending. */
const GIVE_UP_MS = 600_000;

/** How long a server that takes our sockets may leave a create unanswered: all that is well answers it at once. */
const UNANSWERED_MS = 60_000;

const UNREACHABLE: Failure = { code: "unreachable", sentence: "The server could not be reached." };
const SILENT: Failure = { code: "unreachable", sentence: "The server takes connections and says nothing." };

/** Open a new socket.  Call only where there is none, or after leaving it. */
export function connect(state: State, { now }: Moment): Step {
  const id = state.links + 1;
  return {
    state: { ...state, links: id, link: { kind: "connecting", id, until: now + CONNECT_MS } },
    effects: [{ type: "connect", link: id }],
  };
}

/** Change to a new socket at once. */
export function replace(state: State, moment: Moment): Step {
  const next = connect(state, moment);
  return { state: next.state, effects: [...hangUp(state), ...next.effects] };
}

/** Leave this socket and, if an answer is in flight, come back after a backoff. */
export function cut(state: State, moment: Moment): Step {
  const down = settle(state);
  const { answer } = state;
  if (answer === undefined || answer.phase === "ended") return down;
  return { state: comeBack(down.state, answer, moment).state, effects: down.effects };
}

/** Leave this socket for good; the next response makes a new one. */
export function settle(state: State): Step {
  return { state: { ...state, link: { kind: "none" } }, effects: hangUp(state) };
}

/**
 * Change to a new socket, for this one is silent: it may be dead without our knowing, or the response waits for a
 * worker.  End the response if no socket has said anything for too long.
 */
export function quiet(state: State, answer: Answer, heardAt: number, moment: Moment): Step {
  const silentSince = state.silentSince ?? heardAt;
  const longest = answer.id === undefined ? UNANSWERED_MS : GIVE_UP_MS;
  if (moment.now - silentSince < longest) return replace({ ...state, silentSince }, moment);
  const down = settle(state);
  return { state: give(down.state, answer, SILENT).state, effects: down.effects };
}

/** Try again after a backoff, or end the response if that has gone on for too long. */
export function comeBack(state: State, answer: Answer, { now, random }: Moment, base?: number): Step {
  const lostAt = state.lostAt ?? now;
  if (now - lostAt > GIVE_UP_MS) return give(state, answer, UNREACHABLE);
  const until = now + backoff(state.attempt, random, base);
  return still({ ...state, lostAt, attempt: state.attempt + 1, link: { kind: "waiting", until } });
}

/**
 * End the response on our side.  A socket on which only a create was refused stays for the next one; on
 * any other the server may still be sending.
 */
export function give(state: State, answer: Answer, failure: Failure): Step {
  const { lostAt: _, silentSince: __, ...rest } = state;
  const over: State = { ...rest, attempt: 0, answer: failed(answer, failure) };
  return answer.id === undefined ? still(over) : settle(over);
}

function hangUp({ link }: State): Effect[] {
  return link.kind === "open" || link.kind === "connecting" ? [{ type: "close", link: link.id }] : [];
}

/** Put the silence off: the socket said something. */
export function heard(state: State, { now }: Moment): State {
  return state.link.kind === "open" ? { ...state, link: { ...state.link, heardAt: now } } : state;
}

/** Forget past troubles: an event of the response came through this socket. */
export function proven(state: State): State {
  const { lostAt: _, silentSince: __, ...rest } = state;
  const link = state.link.kind === "open" ? { ...state.link, proven: true } : state.link;
  return { ...rest, link, attempt: 0 };
}

export function isProven({ link }: State): boolean {
  return link.kind === "open" && link.proven;
}

export function isCurrent({ link }: State, id: number): boolean {
  return (link.kind === "open" || link.kind === "connecting") && link.id === id;
}

export function send(link: number, message: ClientMessage): Effect {
  return { type: "send", link, message };
}

export function still(state: State): Step {
  return { state, effects: [] };
}
