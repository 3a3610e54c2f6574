/**
 * The pieces of answers that this page did not see come, as before a reload: read again from the log, one answer after
 * another, and only when they are to be seen.
 */

import { type Logprob, type Outcome, type ResponseEvent, type State, StreamClient } from "../client/index.ts";
import type { Turn } from "./conversation.ts";

/** A piece of an answer as it came: one delta, or one token where the server names them. */
export interface Piece {
  readonly text: string;
  /** Natural logarithm of its probability, if the server tells. */
  readonly logprob?: number;
}

/** What an event adds to the pieces of its answer. */
export function piecesIn(event: ResponseEvent): readonly Piece[] {
  return event.type === "response.output_text.delta" ? piecesOf(event.delta, event.logprobs ?? []) : [];
}

/** Cut a delta into its tokens, if they are named and make up its text. */
export function piecesOf(delta: string, logprobs: readonly Logprob[]): Piece[] {
  const isWhole = logprobs.map(({ token }) => token).join("") === delta;
  return isWhole ? logprobs.map(({ token: text, logprob }) => ({ text, logprob })) : [{ text: delta }];
}

/** What came of reading: the pieces, or why there are none; neither as long as it goes on. */
export interface Reading {
  readonly pieces?: readonly Piece[];
  /** An empty sentence: nobody said why. */
  readonly lost?: string;
}

export interface PieceReaderOptions {
  readonly url: string;
  readonly ticket: () => Promise<string | undefined>;
  /** Called when an answer has been read, or cannot be. */
  readonly onChange: () => void;
}

export class PieceReader {
  readonly #client: StreamClient;
  readonly #onChange: () => void;
  readonly #readings = new Map<string, Reading>();
  readonly #waiting: Turn[] = [];
  #turn: Turn | undefined;
  #pieces: Piece[] = [];

  constructor({ url, ticket, onChange }: PieceReaderOptions) {
    this.#onChange = onChange;
    this.#client = new StreamClient({
      url,
      ticket,
      onChange: (state) => this.#changed(state),
      onTaken: (event) => void this.#pieces.push(...piecesIn(event)),
    });
  }

  of(turn: Turn): Reading | undefined {
    return this.#readings.get(turn.id);
  }

  /** Read the pieces of a turn that has ended; once, however often it is asked for. */
  want(turn: Turn): void {
    const isThere = turn.responseId !== undefined && turn.outcome !== undefined && turn.text !== "";
    if (!isThere || this.#readings.has(turn.id)) return;
    this.#readings.set(turn.id, {});
    this.#waiting.push(turn);
    if (this.#turn === undefined) this.#next();
  }

  online(): void {
    this.#client.online();
  }

  #next(): void {
    this.#turn = this.#waiting.shift();
    this.#pieces = [];
    if (this.#turn?.responseId !== undefined) this.#client.restore(this.#turn.responseId);
    else this.#client.leave();
  }

  #changed({ answer }: State): void {
    if (this.#turn === undefined || answer?.outcome === undefined) return;
    this.#readings.set(this.#turn.id, this.#outcome(answer.outcome));
    this.#onChange();
    this.#next();
  }

  /** An answer that failed itself has its pieces, too; one that cannot be read has none. */
  #outcome({ sentence = "" }: Outcome): Reading {
    return this.#pieces.length > 0 ? { pieces: this.#pieces } : { lost: sentence };
  }
}
