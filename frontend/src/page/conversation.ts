/**
 * A conversation as values: a tree of turns.
 *
 * Asking again and rewriting a question make a sibling, so nothing that was said is ever lost; `leaf` names the
 * end of the branch that is shown.
 */

import type { Answer, Message, Outcome } from "../client/index.ts";
import type { Timing } from "./measure.ts";

/** One question and what came of it. */
export interface Turn {
  /** The key under which it was asked: a reload before it has an id asks again without asking twice. */
  readonly id: string;
  /** The turn that it follows; null for the first one. */
  readonly parent: string | null;
  readonly prompt: string;
  /** The answer so far. */
  readonly text: string;
  readonly model?: string;
  readonly responseId?: string;
  /** Undefined while the answer is in flight. */
  readonly outcome?: Outcome;
  /** Undefined if this page did not see it being made. */
  readonly timing?: Timing;
  readonly tokens: number;
  /** Times that the socket was lost and the answer went on. */
  readonly resumes: number;
}

export interface Conversation {
  readonly id: string;
  /** Empty until something was said or a name given. */
  readonly title: string;
  /** Given by the user: it stays whatever is said. */
  readonly named: boolean;
  /** Unix milliseconds. */
  readonly createdAt: number;
  readonly changedAt: number;
  readonly turns: readonly Turn[];
  readonly leaf: string | null;
}

/** Characters of a question that make a title. */
const TITLE = 60;

export function begun(id: string, now: number): Conversation {
  return { id, title: "", named: false, createdAt: now, changedAt: now, turns: [], leaf: null };
}

/** Return the shown branch, from the first turn to the leaf. */
export function branch({ turns, leaf }: Conversation): readonly Turn[] {
  const byId = new Map(turns.map((turn) => [turn.id, turn]));
  const path: Turn[] = [];
  for (let at = leaf; at !== null; ) {
    const turn = byId.get(at);
    if (turn === undefined || path.length > turns.length) break;
    path.unshift(turn);
    at = turn.parent;
  }
  return path;
}

/** Return the turns that stand in one place, oldest first: `turn` and those asked in its stead. */
export function siblings({ turns }: Conversation, turn: Turn): readonly Turn[] {
  return turns.filter(({ parent }) => parent === turn.parent);
}

/** Put a question at `parent`, and show the branch that ends with it. */
export function ask(
  conversation: Conversation,
  question: { id: string; parent: string | null; prompt: string; model?: string },
  now: number,
): Conversation {
  const turn: Turn = { ...question, text: "", tokens: 0, resumes: 0 };
  const { turns, title } = conversation;
  return {
    ...conversation,
    title: title === "" ? titleOf(question.prompt) : title,
    // A clock that was set back must not make what is asked older than what is there.
    changedAt: Math.max(now, conversation.changedAt),
    turns: [...turns, turn],
    leaf: turn.id,
  };
}

/** Show the branch through the turn `id`, to its newest end. */
export function show(conversation: Conversation, id: string): Conversation {
  let leaf = id;
  for (;;) {
    const next = conversation.turns.findLast(({ parent }) => parent === leaf);
    if (next === undefined) return { ...conversation, leaf };
    leaf = next.id;
  }
}

/** Put a newer state of a turn in its place. */
export function renew(conversation: Conversation, turn: Turn): Conversation {
  return { ...conversation, turns: conversation.turns.map((each) => (each.id === turn.id ? turn : each)) };
}

/**
 * Join two states of one conversation, as two tabs may write them: no turn of either is lost.
 *
 * Name and branch are those of the one changed last, of `ours` if that cannot be said.
 */
export function merge(ours: Conversation, theirs: Conversation): Conversation {
  const base = theirs.changedAt > ours.changedAt ? theirs : ours;
  const others = new Map(theirs.turns.map((turn) => [turn.id, turn]));
  const known = new Set(ours.turns.map(({ id }) => id));
  const turns = ours.turns.map((turn) => further(turn, others.get(turn.id) ?? turn));
  return { ...base, turns: [...turns, ...theirs.turns.filter(({ id }) => !known.has(id))] };
}

function further(ours: Turn, theirs: Turn): Turn {
  if ((ours.outcome === undefined) !== (theirs.outcome === undefined))
    return ours.outcome === undefined ? theirs : ours;
  return theirs.text.length > ours.text.length ? theirs : ours;
}

/** Return the turn whose answer is in flight, if one is. */
export function unanswered({ turns }: Conversation): Turn | undefined {
  return turns.findLast(({ outcome }) => outcome === undefined);
}

/** Return the input of the next response: the answered turns before it, then the question. */
export function inputOf(before: readonly Turn[], prompt: string): Message[] {
  const said = before
    .filter(({ text }) => text !== "")
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
export function follow(turn: Turn, answer: Answer, timing?: Timing): Turn {
  const isWhole = answer.outcome !== undefined && answer.outcome.status !== "failed";
  return {
    ...turn,
    text: isWhole || answer.text.length >= turn.text.length ? answer.text : turn.text,
    tokens: answer.outcome?.usage?.output_tokens ?? Math.max(turn.tokens, answer.deltas),
    resumes: Math.max(turn.resumes, answer.resumes),
    ...(answer.id === undefined ? {} : { responseId: answer.id }),
    ...(answer.outcome === undefined ? {} : { outcome: answer.outcome }),
    ...(timing === undefined ? {} : { timing }),
  };
}

/** Make a title of a question: its first line without Markdown's signs, cut between words. */
export function titleOf(prompt: string): string {
  const line =
    prompt
      .replace(/^[\s#>*`-]+/, "")
      .split(/\s*\n/, 1)[0]
      ?.trim() ?? "";
  if (line.length <= TITLE) return line;
  const cut = line.slice(0, TITLE);
  const space = cut.lastIndexOf(" ");
  return `${(space > TITLE / 2 ? cut.slice(0, space) : cut).trimEnd()}…`;
}
