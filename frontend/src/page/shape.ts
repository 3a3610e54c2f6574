/** Reads what was written down: of another version of this page, by another program, or by nobody. */

import type { Outcome } from "../client/index.ts";
import { type Conversation, show, type Turn } from "./conversation.ts";
import type { Timing } from "./measure.ts";

type Fields = Readonly<Record<string, unknown>>;

/** Parse JSON; undefined if it is none. */
export function parse(written: string): unknown {
  try {
    return JSON.parse(written);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

export function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Read a conversation; undefined if it is none.  Turns that are none are left out. */
export function conversationIn(value: unknown): Conversation | undefined {
  if (!isFields(value)) return undefined;
  const { id, title, named, createdAt, changedAt, turns, leaf } = value;
  const isWhole = text(id) && text(title) && count(createdAt) && count(changedAt) && Array.isArray(turns);
  if (!isWhole) return undefined;
  const read = turns.flatMap((turn) => turnIn(turn) ?? []);
  const made = { id, title, named: named === true, createdAt, changedAt, turns: read, leaf: null };
  if (read.some((turn) => turn.id === leaf)) return { ...made, leaf: leaf as string };
  const first = read.find(({ parent }) => parent === null);
  return first === undefined ? made : show(made, first.id);
}

function turnIn(value: unknown): Turn | undefined {
  if (!isFields(value)) return undefined;
  const { id, parent, prompt, text: said, tokens, resumes, model, responseId, outcome, timing } = value;
  const isWhole = text(id) && text(prompt) && text(said) && count(tokens) && count(resumes);
  if (!isWhole || !(parent === null || text(parent))) return undefined;
  return {
    id,
    parent,
    prompt,
    text: said,
    tokens,
    resumes,
    ...(text(model) ? { model } : {}),
    ...(text(responseId) ? { responseId } : {}),
    ...(isOutcome(outcome) ? { outcome } : {}),
    ...(isTiming(timing) ? { timing } : {}),
  };
}

function isOutcome(value: unknown): value is Outcome {
  return isFields(value) && ["completed", "incomplete", "cancelled", "failed"].includes(String(value.status));
}

function isTiming(value: unknown): value is Timing {
  if (!isFields(value)) return false;
  const { span, pieces, gaps, longest, paints, painting } = value;
  return [span, pieces, longest, paints, painting].every(count) && Array.isArray(gaps) && gaps.every(count);
}

function text(value: unknown): value is string {
  return typeof value === "string";
}

function count(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value) && value >= 0;
}
