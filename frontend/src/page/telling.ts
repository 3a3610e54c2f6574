/** What the page says of an answer: the state line, and the small print under it. */

import type { Answer, Outcome, State, Usage } from "../client/index.ts";
import type { Turn } from "./conversation.ts";
import { quantile, rate } from "./measure.ts";
import type { Words } from "./words/index.ts";

export type Tone = "idle" | "busy" | "lost" | "bad";

export interface StateLine {
  readonly tone: Tone;
  readonly text: string;
}

/** What a server says of a response that waits. */
export interface Waiting {
  /** Responses before it. */
  readonly place: number;
  /** Seconds until it is likely to begin, if that can be said. */
  readonly seconds?: number;
}

/** How the answer stands, besides what its client knows. */
export interface Circumstances {
  /** The page was loaded in mid-answer. */
  readonly reloaded: boolean;
  readonly waiting?: Waiting;
}

/** Say in one sentence where the answer stands.  It changes with the state, never with a token. */
export function stateLine(words: Words, state: State | undefined, circumstances: Circumstances): StateLine {
  const answer = state?.answer;
  if (state === undefined || answer === undefined) return { tone: "idle", text: words.ready };
  if (answer.outcome !== undefined) return ending(words, answer.outcome, answer.resumes);
  const lost = state.attempt > 0 && state.link.kind !== "open";
  if (answer.stopping) return busy(lost ? words.stoppingLater : words.stopping);
  if (lost) return { tone: "lost", text: answer.id === undefined ? words.notYet : words.reconnecting };
  return busy(underWay(words, answer, circumstances));
}

/** Say what a screen reader hears: each change of the state, and in the end the answer, never a token. */
export function spoken(words: Words, state: State | undefined, circumstances: Circumstances): string {
  const { outcome, text } = state?.answer ?? {};
  const { waiting } = circumstances;
  // A time that counts down would be read out again and again.
  const steady =
    waiting === undefined ? circumstances : { ...circumstances, waiting: { place: waiting.place } };
  const line = state?.answer === undefined ? "" : stateLine(words, state, steady).text;
  return outcome === undefined || !text ? line : `${line}. ${words.finished(text)}`;
}

function underWay(words: Words, answer: Answer, circumstances: Circumstances): string {
  const went = goneOn(words, answer, circumstances.reloaded);
  switch (answer.phase) {
    case "queued":
      return sentences(queued(words, circumstances.waiting), went);
    case "generating":
      return sentences(words.generating, went);
    default:
      return words.connecting;
  }
}

function queued(words: Words, waiting: Waiting | undefined): string {
  if (waiting === undefined) return words.queued;
  const place = waiting.place === 0 ? words.queuedNext : words.queuedBehind(waiting.place);
  return waiting.seconds === undefined ? place : `${place} · ${words.wait(waiting.seconds)}`;
}

function goneOn(words: Words, { resumedAt }: Answer, reloaded: boolean): string {
  if (resumedAt !== undefined) return words.resumed(resumedAt);
  return reloaded ? words.reloaded : "";
}

function ending(words: Words, outcome: Outcome, resumes: number): StateLine {
  if (outcome.status === "failed") return { tone: "bad", text: ended(words, outcome) };
  const kept = resumes === 0 ? "" : `${words.reconnected(resumes)}, ${words.nothingLost}`;
  return { tone: "idle", text: sentences(ended(words, outcome), kept) };
}

/** Say what is wrong with an answer; empty if nothing is. */
export function note(words: Words, outcome: Outcome | undefined): string {
  const isWrong = outcome?.status === "failed" || outcome?.status === "incomplete";
  return isWrong ? ended(words, outcome) : "";
}

/** Say how an answer ended. */
export function ended(words: Words, outcome: Outcome): string {
  switch (outcome.status) {
    case "completed":
      return words.done;
    case "cancelled":
      return words.stopped;
    case "failed":
      return words.failed(failure(words, outcome));
    case "incomplete":
      return words.early(words.limits[outcome.reason ?? ""] ?? outcome.reason ?? words.someLimit);
  }
}

function failure(words: Words, { sentence = words.noReason, retryAfter }: Outcome): string {
  return retryAfter === undefined ? sentence : `${sentence} ${words.again(retryAfter)}`;
}

function sentences(first: string, second: string): string {
  return second === "" ? first : `${first} · ${second}`;
}

function busy(text: string): StateLine {
  return { tone: "busy", text };
}

/** One measured fact; `hint` says what it means. */
export interface Fact {
  readonly text: string;
  readonly hint?: string;
}

/** List the measured facts under an answer; what was not measured is left out. */
export function facts(words: Words, turn: Turn): Fact[] {
  const { outcome, timing, tokens, resumes } = turn;
  const speed = timing && rate(timing, tokens);
  const { usage } = outcome ?? {};
  return [
    ...(outcome?.status === "cancelled" ? [{ text: words.stopped }] : []),
    ...(timing?.ttft === undefined
      ? []
      : [{ text: `${words.ttft} ${duration(timing.ttft)}`, hint: words.ttftHint }]),
    ...(speed === undefined
      ? []
      : [{ text: `${speed < 10 ? speed.toFixed(1) : Math.round(speed)} ${words.perSecond}` }]),
    ...(tokens === 0
      ? []
      : [
          {
            text: words.tokens(tokens),
            ...(usage ? { hint: used(words, usage) } : {}),
          },
        ]),
    ...(resumes === 0 ? [] : [{ text: words.reconnected(resumes), hint: words.nothingLost }]),
  ];
}

function used(words: Words, { input_tokens, output_tokens, input_tokens_details }: Usage): string {
  return words.usage(input_tokens, output_tokens, input_tokens_details?.cached_tokens ?? 0);
}

/** Say how even the pieces came; empty if too few did. */
export function evenness(words: Words, gaps: readonly number[]): string {
  const [p50, p99] = [quantile(gaps, 0.5), quantile(gaps, 0.99)];
  if (p50 === undefined || p99 === undefined) return "";
  return words.gapsHint(duration(p50), duration(p99));
}

export function duration(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}
