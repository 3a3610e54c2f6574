/**
 * The stream client as a pure state machine: `reduce(state, event, moment) -> { state, effects }`.
 *
 * No DOM, socket, clock or randomness in here: the shell tells what happened, when, and one random number,
 * and does what the effects say.  There is one socket at a time and one response in flight at a time.
 * Whatever goes wrong in mid-answer, the one remedy is a new socket that asks for what comes after the
 * cursor; the log behind it is the truth.
 */

import { type Answer, type Ask, asked, ended, judgeEvent, restored, resumed, take } from "./answer.ts";
import { judge } from "./closing.ts";
import type { ClientMessage, ErrorEvent, ResponseEvent, ServerEvent } from "./events.ts";
import {
  comeBack,
  connect,
  cut,
  give,
  heard,
  isCurrent,
  isProven,
  proven,
  quiet,
  replace,
  send,
  settle,
  still,
} from "./links.ts";
import { type Event, inFlight, type Moment, type State, type Step, wakeAt } from "./state.ts";

/** Errors after which the response cannot be read on, whatever we do. */
const LOST = new Set(["resume_unavailable", "response_not_found", "starting_after_out_of_range"]);
/** Errors of a server that is about to leave or cannot reach its own: ask another one. */
const ELSEWHERE = new Set(["server_draining", "backend_unavailable"]);
/** Refusals that a resume waits out; a create is refused for good, so that the user is told at once. */
const BUSY = new Set([
  "overloaded",
  "no_worker",
  "storage_full",
  "rate_limit_exceeded",
  "too_many_active_responses",
  "lane_busy",
]);
/** The answer to a Stop that came after the ending: the ending itself is on its way. */
const ENDED_BEFORE = "response_not_active";
const SESSION_OVER = "websocket_connection_limit_reached";

/** `event_id` of our messages, so that an error says which of them it answers; a create's is its key. */
const RESUME = "resume";
const CANCEL = "cancel";

/** Advance the machine by one event.  Throws if a second response is asked for while one is in flight. */
export function reduce(state: State, event: Event, moment: Moment): Step {
  switch (event.type) {
    case "ask":
      return begin(state, asked(event.ask, moment.now), moment);
    case "restore":
      return begin(state, restored(event.responseId, moment.now), moment);
    case "stop":
      return stop(state);
    case "leave":
      return leave(state);
    case "online":
      return online(state, moment);
    case "opened":
      return isCurrent(state, event.link) ? opened(state, event.link, moment) : still(state);
    case "received":
      return isCurrent(state, event.link) ? received(state, event.event, moment) : still(state);
    case "closed":
      return isCurrent(state, event.link) ? closed(state, event.code, moment) : still(state);
    case "tick":
      return tick(state, moment);
  }
}

// ---- what the user does ---------------------------------------------------------------------------

function begin(state: State, answer: Answer, moment: Moment): Step {
  if (inFlight(state)) throw new Error("One response at a time: the one in flight has not ended.");
  const next: State = { ...state, answer };
  switch (state.link.kind) {
    case "open":
      return attend(heard(next, moment), state.link.id, answer);
    case "connecting":
      return still(next);
    case "none":
    case "waiting":
      return connect(next, moment);
  }
}

function stop(state: State): Step {
  const { answer, link } = state;
  if (answer === undefined || answer.phase === "ended" || answer.stopping) return still(state);
  const stopping: State = { ...state, answer: { ...answer, stopping: true } };
  if (answer.id !== undefined && link.kind === "open") return cancel(stopping, link.id, answer.id);
  // Never sent: nobody but us knows of it.  Sent but not confirmed: cancelled as soon as it has a name.
  if (!answer.sent) return settle(proven({ ...state, answer: ended(answer, { status: "cancelled" }) }));
  return still(stopping);
}

function leave(state: State): Step {
  const { state: alone, effects } = settle(state);
  const { answer: _, lostAt: __, silentSince: ___, ...rest } = alone;
  return { state: { ...rest, attempt: 0 }, effects };
}

function cancel(state: State, link: number, responseId: string): Step {
  return {
    state,
    effects: [send(link, { type: "response.cancel", event_id: CANCEL, response_id: responseId })],
  };
}

// ---- what the socket does -------------------------------------------------------------------------

function opened(state: State, link: number, { now }: Moment): Step {
  const open: State = { ...state, link: { kind: "open", id: link, heardAt: now, proven: false } };
  const { answer } = open;
  return answer !== undefined && answer.phase !== "ended" ? attend(open, link, answer) : still(open);
}

/** Say on a socket what we are here for: ask, or ask again, or read on. */
function attend(state: State, link: number, answer: Answer): Step {
  if (answer.id !== undefined) return readOn(state, link, answer, answer.id);
  const effects = answer.ask ? [send(link, create(answer.ask))] : [];
  return { state: { ...state, answer: { ...answer, sent: true } }, effects };
}

function readOn(state: State, link: number, answer: Answer, id: string): Step {
  const resume = send(link, {
    type: "response.resume",
    event_id: RESUME,
    response_id: id,
    starting_after: answer.last,
    ...(answer.epoch === undefined ? {} : { epoch: answer.epoch }),
  });
  return { state, effects: answer.stopping ? [resume, ...cancel(state, link, id).effects] : [resume] };
}

function create({ request, key }: Ask): ClientMessage {
  return { ...request, type: "response.create", event_id: key, idempotency_key: key };
}

function received(state: State, event: ServerEvent, moment: Moment): Step {
  const listening = heard(state, moment);
  switch (event.type) {
    case "unknown":
      return still(listening);
    case "error":
      return refused(listening, event, moment);
    case "malformed":
      return cut(listening, moment);
    default:
      return numbered(listening, event, moment);
  }
}

function numbered(state: State, event: ResponseEvent, moment: Moment): Step {
  const { answer } = state;
  if (answer === undefined || answer.phase === "ended") return still(state);
  switch (judgeEvent(answer, event)) {
    case "duplicate":
      return still(state);
    case "gap":
      return cut(state, moment);
    case "next":
      return taken(state, answer, event, moment);
  }
}

function taken(state: State, answer: Answer, event: ResponseEvent, { now }: Moment): Step {
  const wentOn = state.attempt > 0 && answer.last >= 0 ? resumed(answer) : answer;
  const next = take(wentOn, event, now);
  const sound = { ...proven(state), answer: next };
  const owesCancel = answer.id === undefined && next.id !== undefined && next.stopping;
  return owesCancel && state.link.kind === "open" ? cancel(sound, state.link.id, next.id) : still(sound);
}

function refused(state: State, event: ErrorEvent, moment: Moment): Step {
  const code = event.error.code ?? "error";
  if (code === SESSION_OVER) return renew(state, moment);
  const { answer } = state;
  if (answer === undefined || answer.phase === "ended" || code === ENDED_BEFORE) return still(state);
  if (event.event_id === CANCEL) return still({ ...state, answer: { ...answer, stopping: false } });
  return isAbout(answer, event) ? failing(state, answer, event, moment) : still(state);
}

/** Says whether an error concerns the answer.  One without `event_id` does, unless the answer runs. */
function isAbout({ id, ask }: Answer, { event_id }: ErrorEvent): boolean {
  return event_id === undefined || event_id === ask?.key || (event_id === RESUME && id !== undefined);
}

function failing(state: State, answer: Answer, { error, event_id }: ErrorEvent, moment: Moment): Step {
  const code = error.code ?? "error";
  const { message: sentence, retry_after: retryAfter } = error;
  const failure = { code, sentence, ...(retryAfter === undefined ? {} : { retryAfter }) };
  if (ELSEWHERE.has(code)) return cut(state, moment);
  if (answer.id === undefined || LOST.has(code)) return give(state, answer, failure);
  if (isProven(state)) return event_id === undefined ? still(state) : cut(state, moment);
  return BUSY.has(code) ? cut(state, moment) : give(state, answer, failure);
}

/** The session's time is over: change to a new socket without a word, now or when it is next needed. */
function renew(state: State, moment: Moment): Step {
  if (!inFlight(state)) return settle(state);
  return isProven(state) ? replace(state, moment) : cut(state, moment);
}

function closed(state: State, code: number, moment: Moment): Step {
  const down: State = { ...state, link: { kind: "none" } };
  const { answer } = state;
  if (answer === undefined || answer.phase === "ended") return still(down);
  const verdict = judge(code);
  return verdict.retry
    ? comeBack(down, answer, moment, verdict.base)
    : give(down, answer, { code: "connection_refused", sentence: verdict.sentence });
}

// ---- time and network -----------------------------------------------------------------------------

function online(state: State, moment: Moment): Step {
  if (!inFlight(state) || state.link.kind === "connecting") return still(state);
  // An open socket from before the outage is most likely dead, and may take minutes to say so.
  const lost = { lostAt: state.lostAt ?? moment.now, attempt: Math.max(1, state.attempt) };
  return replace({ ...state, ...lost }, moment);
}

function tick(state: State, moment: Moment): Step {
  const due = wakeAt(state);
  if (due === undefined || moment.now < due) return still(state);
  const { link, answer } = state;
  if (link.kind === "open" && answer !== undefined) return quiet(state, answer, link.heardAt, moment);
  return link.kind === "connecting" ? cut(state, moment) : replace(state, moment);
}
