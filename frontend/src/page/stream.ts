/** One conversation's line to the server: its client, the turn being answered, and what is measured of it. */

import { type Request, type ResponseEvent, type State, StreamClient } from "../client/index.ts";
import { follow, type Turn } from "./conversation.ts";
import { Meter, type Sample } from "./measure.ts";
import { type Piece, piecesIn } from "./pieces.ts";
import type { Waiting } from "./telling.ts";

export interface StreamOptions {
  readonly url: string;
  readonly ticket: () => Promise<string | undefined>;
  /** Called after each change of the turn or of the link. */
  readonly onChange: (stream: Stream) => void;
  readonly onSample: (sample: Sample) => void;
}

export class Stream {
  readonly #options: StreamOptions;
  readonly #client: StreamClient;
  #turn: Turn | undefined;
  #meter: Meter | undefined;
  readonly #pieces = new Map<string, Piece[]>();
  /** Where the response stands in the queue, if somebody asked. */
  waiting: Waiting | undefined;

  constructor(options: StreamOptions) {
    this.#options = options;
    this.#client = new StreamClient({
      url: options.url,
      ticket: options.ticket,
      onChange: (state) => this.#changed(state),
      onTaken: (event, now) => this.#taken(event, now),
    });
  }

  get state(): State {
    return this.#client.state;
  }

  /** The turn it is about, as far as it is known. */
  get turn(): Turn | undefined {
    return this.#turn;
  }

  /** Return the text of a turn in the pieces that came here. */
  piecesOf(turnId: string): readonly Piece[] | undefined {
    return this.#pieces.get(turnId);
  }

  get meter(): Meter | undefined {
    return this.#meter;
  }

  /** Says whether the answer is read again from its beginning: what is replayed says nothing about time. */
  get reloaded(): boolean {
    return this.#turn !== undefined && this.#meter === undefined;
  }

  ask(turn: Turn, request: Request): void {
    this.#begin(turn, new Meter(performance.now(), this.#options.onSample));
    this.#client.ask(request, turn.id);
  }

  /** Read the answer of a turn that was asked elsewhere or before a reload. */
  watch(turn: Turn, responseId: string): void {
    this.#begin(turn, undefined);
    this.#client.restore(responseId);
  }

  stop(): void {
    this.#client.stop();
  }

  leave(): void {
    this.#client.leave();
  }

  online(): void {
    this.#client.online();
  }

  #begin(turn: Turn, meter: Meter | undefined): void {
    this.#turn = turn;
    this.#meter = meter;
    this.#pieces.delete(turn.id);
    this.waiting = undefined;
  }

  #changed({ answer }: State): void {
    if (answer === undefined || this.#turn === undefined) return;
    this.#turn = follow(this.#turn, answer, this.#meter?.timing);
    this.#options.onChange(this);
  }

  #taken(event: ResponseEvent, now: number): void {
    if (event.type !== "response.output_text.delta" || this.#turn === undefined) return;
    this.#meter?.piece(now);
    const { id } = this.#turn;
    const pieces = this.#pieces.get(id) ?? [];
    pieces.push(...piecesIn(event));
    this.#pieces.set(id, pieces);
  }
}
