/** One response as its client sees it: the cursor, the text so far, and exactly one outcome. */

import type { Request, ResponseEvent, ResponseObject, TerminalEvent, Usage } from "./events.ts";

/** Events that come before the first delta: created, in_progress, output_item.added, content_part.added. */
const PROLOGUE = 4;

export type Phase = "asked" | "queued" | "generating" | "ended";

/** How a response ended.  `cancelled` is what Stop does. */
export interface Outcome {
  readonly status: "completed" | "incomplete" | "cancelled" | "failed";
  /** incomplete: the limit that was reached. */
  readonly reason?: string;
  /** failed: a word for programs and a sentence for people. */
  readonly code?: string;
  readonly sentence?: string;
  /** failed: seconds after which asking again makes sense, if the server says so. */
  readonly retryAfter?: number;
  readonly usage?: Usage;
}

/** What was asked, kept until the server has said `created`, so that it can be asked again. */
export interface Ask {
  readonly request: Request;
  /** The idempotency key: asking twice with it makes one response. */
  readonly key: string;
}

export interface Answer {
  /** Undefined if the response was made before this page was loaded. */
  readonly ask?: Ask;
  /** The create was handed to a socket, so a server may know of it. */
  readonly sent: boolean;
  readonly id?: string;
  readonly phase: Phase;
  /** Requests that wait before it, if the server says so. */
  readonly place?: number;
  /** Sequence number of the last event taken, -1 before the first. */
  readonly last: number;
  readonly epoch?: number;
  readonly text: string;
  /** Deltas taken, counted by their numbers: a merged one counts for all it covers. */
  readonly deltas: number;
  /** Stop was pressed and the ending has not come yet. */
  readonly stopping: boolean;
  /** Times, in milliseconds of the shell's clock. */
  readonly askedAt: number;
  readonly firstDeltaAt?: number;
  readonly lastDeltaAt?: number;
  /** Reconnections after which the response went on. */
  readonly resumes: number;
  /** Deltas that had been taken when it last went on. */
  readonly resumedAt?: number;
  readonly outcome?: Outcome;
}

const BLANK = {
  sent: false,
  phase: "asked",
  last: -1,
  text: "",
  deltas: 0,
  stopping: false,
  resumes: 0,
} as const;

export type Judgement = "next" | "duplicate" | "gap";

export function asked(ask: Ask, now: number): Answer {
  return { ...BLANK, ask, askedAt: now };
}

/** Start over from the log with nothing but the id, as after a reload. */
export function restored(id: string, now: number): Answer {
  return { ...BLANK, id, sent: true, askedAt: now };
}

/**
 * Compare an event's numbers with the cursor.
 *
 * Contiguous means first = last + 1.  A merged event that overlaps what was taken cannot be cut in two, and
 * an event of an older epoch than one already seen belongs to another history: both are gaps.
 */
export function judgeEvent(answer: Answer, event: ResponseEvent): Judgement {
  if (event.sequence_number <= answer.last) return "duplicate";
  const first = event.first_sequence_number ?? event.sequence_number;
  if (first !== answer.last + 1) return "gap";
  if (event.epoch !== undefined && answer.epoch !== undefined && event.epoch < answer.epoch) return "gap";
  return "next";
}

/** Take the next event.  Call only if `judgeEvent` said `next`. */
export function take(answer: Answer, event: ResponseEvent, now: number): Answer {
  const epoch = event.epoch ?? answer.epoch;
  const moved: Answer = {
    ...answer,
    last: event.sequence_number,
    ...(epoch === undefined ? {} : { epoch }),
  };
  switch (event.type) {
    case "response.created":
    case "response.queued":
    case "response.in_progress":
      return named(moved, event.response);
    case "response.output_text.delta":
      return grown(moved, event.delta, Math.max(0, event.sequence_number + 1 - PROLOGUE), now);
    case "response.completed":
    case "response.incomplete":
    case "response.failed":
      return ended(named(moved, event.response), outcomeOf(event));
    default:
      return moved;
  }
}

export function ended(answer: Answer, outcome: Outcome): Answer {
  return { ...answer, phase: "ended", stopping: false, outcome };
}

/** Why a client has to end a response by itself. */
export interface Failure {
  readonly code: string;
  readonly sentence: string;
  readonly retryAfter?: number;
}

export function failed(answer: Answer, failure: Failure): Answer {
  return ended(answer, { status: "failed", ...failure });
}

/** Note that the response went on after a lost link. */
export function resumed(answer: Answer): Answer {
  return { ...answer, resumes: answer.resumes + 1, resumedAt: answer.deltas };
}

function named(answer: Answer, response: ResponseObject): Answer {
  const { place: _, ...rest } = answer;
  const phase = response.status === "queued" ? "queued" : "generating";
  const place = phase === "queued" && typeof response.place === "number" ? { place: response.place } : {};
  return { ...rest, id: response.id, phase, ...place };
}

function grown(answer: Answer, delta: string, deltas: number, now: number): Answer {
  return {
    ...answer,
    phase: "generating",
    text: answer.text + delta,
    deltas,
    firstDeltaAt: answer.firstDeltaAt ?? now,
    lastDeltaAt: now,
  };
}

function outcomeOf({ type, response }: TerminalEvent): Outcome {
  const usage = response.usage ? { usage: response.usage } : {};
  if (type === "response.completed") return { status: "completed", ...usage };
  if (type === "response.failed") {
    const { code, message } = response.error ?? { code: "server_error", message: "The response failed." };
    return { status: "failed", code, sentence: message, ...usage };
  }
  if (response.status === "cancelled") return { status: "cancelled", ...usage };
  const reason = response.incomplete_details?.reason;
  return { status: "incomplete", ...(reason === undefined ? {} : { reason }), ...usage };
}
