/** The place in the queue of the answer that is open, asked for as long as it waits. */

import { type Get, waitingOf } from "./server.ts";
import type { Stream } from "./stream.ts";

const AGAIN_MS = 2_000;

/** As much of a line as this reads and writes. */
type Line = Pick<Stream, "state" | "waiting">;

export interface PlaceOptions {
  readonly get: Get;
  /** The line of what is open. */
  readonly open: () => Line | undefined;
  /** Called when a line was told its place. */
  readonly onChange: () => void;
}

export class Place {
  readonly #options: PlaceOptions;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(options: PlaceOptions) {
    this.#options = options;
  }

  /** Ask now, and again as long as it waits. */
  ask(): void {
    clearTimeout(this.#timer);
    const answer = this.#options.open()?.state.answer;
    if (answer?.phase !== "queued" || answer.id === undefined) return;
    this.#timer = setTimeout(() => this.ask(), AGAIN_MS);
    void this.#learn(answer.id);
  }

  async #learn(responseId: string): Promise<void> {
    const waiting = await waitingOf(responseId, this.#options.get);
    const line = this.#options.open();
    // Something else was opened meanwhile.
    if (line?.state.answer?.id !== responseId) return;
    line.waiting = waiting;
    this.#options.onChange();
  }
}
