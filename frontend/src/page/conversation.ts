/** A conversation as values: its turns, what of them is sent along, and how it outlives a reload. */

import type { Answer, Message, Outcome } from "../client/index.ts";

/** One question and what came of it. */
export interface Turn {
  readonly prompt: string;
  /** The answer so far. */
  readonly text: string;
  /** Key under which it was asked, so that a reload before it has an id can ask again without asking twice. */
  readonly key: string;
  readonly responseId?: string;
  /** Undefined while the answer is in flight. */
  readonly outcome?: Outcome;
  /** Milliseconds from asking to the first delta, if this page saw both. */
  readonly ttft?: number;
  /** Tokens per second after the first one, as they came here. */
  readonly rate?: number;
  readonly tokens: number;
  /** Times that the socket was lost and the answer went on. */
  readonly resumes: number;
  /** The page was loaded anew in mid-answer: what is replayed says nothing about time. */
  readonly reloaded: boolean;
}

/** How the page asks for tokens: at a temperature of 1, the API's default, small models ramble. */
export const SAMPLING = { temperature: 0.3, top_p: 0.9 } as const;

export type Conversation = readonly Turn[];

export function asked(prompt: string, key: string): Turn {
  return { prompt, text: "", key, tokens: 0, resumes: 0, reloaded: false };
}

/** Return the input of the next response: the answered turns, then the new question. */
export function inputOf(answered: Conversation, prompt: string): Message[] {
  const said = answered
    .filter((turn) => turn.text !== "")
    .flatMap(({ prompt: content, text }): Message[] => [
      { role: "user", content },
      { role: "assistant", content: text },
    ]);
  return [...said, { role: "user", content: prompt }];
}

/**
 * Bring a turn up to what the client knows of its answer.
 *
 * After a reload the text is replayed from its beginning: until that has caught up with what was shown
 * before, or if it never can, what was shown stays.
 */
export function follow(turn: Turn, answer: Answer): Turn {
  const isWhole = answer.outcome !== undefined && answer.outcome.status !== "failed";
  const text = isWhole || answer.text.length >= turn.text.length ? answer.text : turn.text;
  const tokens = answer.outcome?.usage?.output_tokens ?? Math.max(turn.tokens, answer.deltas);
  return {
    ...turn,
    text,
    tokens,
    resumes: Math.max(turn.resumes, answer.resumes),
    ...(answer.id === undefined ? {} : { responseId: answer.id }),
    ...(answer.outcome === undefined ? {} : { outcome: answer.outcome }),
    ...(turn.reloaded ? {} : times(answer, tokens)),
  };
}

function times({ askedAt, firstDeltaAt, lastDeltaAt }: Answer, tokens: number): Pick<Turn, "ttft" | "rate"> {
  if (firstDeltaAt === undefined || lastDeltaAt === undefined) return {};
  const ttft = firstDeltaAt - askedAt;
  const span = lastDeltaAt - firstDeltaAt;
  return span > 0 && tokens > 1 ? { ttft, rate: ((tokens - 1) * 1000) / span } : { ttft };
}

/** Write a conversation down. */
export function encode(conversation: Conversation): string {
  return JSON.stringify(conversation);
}

/** Read what `encode` wrote.  Anything else, as from another version of the page, is an empty conversation. */
export function decode(written: string | null): Conversation {
  if (written === null) return [];
  const value = parse(written);
  return Array.isArray(value) && value.every(isTurn) ? value.map(awoken) : [];
}

function awoken(turn: Turn): Turn {
  return turn.outcome === undefined ? { ...turn, reloaded: true } : turn;
}

function parse(written: string): unknown {
  try {
    return JSON.parse(written);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function isTurn(value: unknown): value is Turn {
  if (typeof value !== "object" || value === null) return false;
  const {
    prompt,
    text,
    key,
    tokens,
    resumes,
    responseId = "",
  } = value as Partial<Record<keyof Turn, unknown>>;
  const strings = [prompt, text, key, responseId].every((each) => typeof each === "string");
  return strings && typeof tokens === "number" && typeof resumes === "number";
}
