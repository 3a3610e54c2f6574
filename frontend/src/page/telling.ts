/** What the page says of itself: the state line, and the small print under an answer. */

import type { Answer, Outcome, State } from "../client/index.ts";
import type { Turn } from "./conversation.ts";

export type Tone = "idle" | "busy" | "bad";

export interface StateLine {
  readonly tone: Tone;
  readonly text: string;
}

const LIMITS: Readonly<Record<string, string>> = {
  max_output_tokens: "the limit of tokens was reached",
  time_limit: "the time for one answer was over",
  log_limit: "the answer grew too long to be kept",
};

/** Say in one sentence where the answer stands.  It changes with the state, never with a token. */
export function stateLine({ answer, link, attempt }: State, reloaded: boolean): StateLine {
  if (answer === undefined) return { tone: "idle", text: "Ready" };
  if (answer.outcome !== undefined) return ending(answer.outcome, answer.resumes);
  const lost = attempt > 0 && link.kind !== "open";
  if (answer.stopping) return busy(lost ? "Stopping as soon as the connection is back…" : "Stopping…");
  if (lost)
    return busy(
      answer.id === undefined ? "No connection yet. Trying again…" : "Connection lost. Reconnecting…",
    );
  return busy(underWay(answer, reloaded));
}

function underWay(answer: Answer, reloaded: boolean): string {
  switch (answer.phase) {
    case "queued":
      return `${queued(answer.place)}${went(answer, reloaded)}`;
    case "generating":
      return `Generating${went(answer, reloaded)}`;
    default:
      return "Connecting…";
  }
}

function queued(place: number | undefined): string {
  if (place === undefined) return "Queued";
  return place === 0 ? "Queued, next in line" : `Queued, ${place} before this one`;
}

function went({ resumedAt }: Answer, reloaded: boolean): string {
  if (resumedAt !== undefined) return `. Resumed at token ${resumedAt}, nothing lost`;
  return reloaded ? ". Continued after the reload, nothing lost" : "";
}

function ending(outcome: Outcome, resumes: number): StateLine {
  if (outcome.status === "failed") return { tone: "bad", text: `Failed: ${failure(outcome)}` };
  const kept = resumes === 0 ? "" : `. Reconnected ${times(resumes)}, nothing lost`;
  return { tone: "idle", text: `${ended(outcome)}${kept}` };
}

/** Say what is wrong with an answer; empty if nothing is. */
export function note(outcome: Outcome | undefined): string {
  const isWrong = outcome?.status === "failed" || outcome?.status === "incomplete";
  return isWrong ? ended(outcome) : "";
}

/** Say how an answer ended. */
function ended(outcome: Outcome): string {
  switch (outcome.status) {
    case "completed":
      return "Done";
    case "cancelled":
      return "Stopped";
    case "failed":
      return `Failed: ${failure(outcome)}`;
    case "incomplete":
      return `Ended early: ${LIMITS[outcome.reason ?? ""] ?? outcome.reason ?? "a limit was reached"}`;
  }
}

function failure({ sentence = "the server does not say why.", retryAfter }: Outcome): string {
  return retryAfter === undefined ? sentence : `${sentence} Try again in ${retryAfter} s.`;
}

function times(count: number): string {
  return count === 1 ? "once" : `${count} times`;
}

function busy(text: string): StateLine {
  return { tone: "busy", text };
}

/** List the measured facts under an answer; what was not measured is left out. */
export function facts({ outcome, ttft, rate, tokens, resumes }: Turn): string[] {
  return [
    ...(outcome?.status === "cancelled" ? [ended(outcome)] : []),
    ...(ttft === undefined ? [] : [`TTFT ${duration(ttft)}`]),
    ...(rate === undefined ? [] : [`${rate < 10 ? rate.toFixed(1) : Math.round(rate)} tokens/s`]),
    ...(tokens === 0 ? [] : [`${tokens} ${tokens === 1 ? "token" : "tokens"}`]),
    ...(resumes === 0 ? [] : [`reconnected ${times(resumes)}`]),
  ];
}

function duration(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}
