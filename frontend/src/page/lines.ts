/** All lines to the server: one stream for each conversation that has an answer in flight or had one lately. */

import { inFlight, type Request } from "../client/index.ts";
import { branch, type Conversation, inputOf, type Turn, unanswered } from "./conversation.ts";
import type { Sample } from "./measure.ts";
import { Stream } from "./stream.ts";

export interface LinesOptions {
  readonly url: string;
  readonly ticket: () => Promise<string | undefined>;
  readonly onChange: (key: string, stream: Stream) => void;
  readonly onSample: (sample: Sample) => void;
}

export class Lines {
  readonly #options: LinesOptions;
  readonly #streams = new Map<string, Stream>();

  constructor(options: LinesOptions) {
    this.#options = options;
  }

  get(key: string | undefined): Stream | undefined {
    return key === undefined ? undefined : this.#streams.get(key);
  }

  /** Names of the streams whose answer is in flight. */
  busy(): ReadonlySet<string> {
    return new Set([...this.#streams].filter(([, { state }]) => inFlight(state)).map(([key]) => key));
  }

  isBusy(key: string | undefined): boolean {
    const stream = this.get(key);
    return stream !== undefined && inFlight(stream.state);
  }

  /** Ask for the answer of a turn; what is said before it is sent along. */
  ask(conversation: Conversation, turn: Turn, chosen: Omit<Request, "input">): void {
    const before = branch({ ...conversation, leaf: turn.parent });
    this.#stream(conversation.id).ask(turn, { ...chosen, input: inputOf(before, turn.prompt) });
  }

  /** Watch a response by its id. */
  watch(key: string, turn: Turn, responseId: string): void {
    if (!this.isBusy(key)) this.#stream(key).watch(turn, responseId);
  }

  /**
   * Read on where a reload cut an answer off, or where another tab has asked.
   *
   * A turn without an id was asked by nobody, or by a page that is gone: asked again under its key it is the same.
   */
  attend(conversation: Conversation, chosen?: Omit<Request, "input">): void {
    const turn = unanswered(conversation);
    if (turn === undefined || this.isBusy(conversation.id)) return;
    if (turn.responseId !== undefined) this.watch(conversation.id, turn, turn.responseId);
    else if (chosen !== undefined) this.ask(conversation, turn, chosen);
  }

  leave(key: string): void {
    this.#streams.get(key)?.leave();
    this.#streams.delete(key);
  }

  online(): void {
    for (const stream of this.#streams.values()) stream.online();
  }

  #stream(key: string): Stream {
    const { onChange, ...options } = this.#options;
    const known = this.#streams.get(key);
    if (known !== undefined) return known;
    const made = new Stream({ ...options, onChange: (stream) => onChange(key, stream) });
    this.#streams.set(key, made);
    return made;
  }
}
