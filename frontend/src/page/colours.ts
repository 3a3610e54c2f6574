/** The colours of code: loaded when there is code, and not before. */

import type { Highlight } from "./markdown/ink.ts";

/** Fetches what colours code; fails with a TypeError if it cannot be had. */
export type Load = () => Promise<{ readonly highlight: Highlight }>;

export class Colours {
  readonly #load: Load;
  readonly #onLoaded: () => void;
  #highlight: Highlight | undefined;
  #isLoading = false;

  constructor(load: Load, onLoaded: () => void) {
    this.#load = load;
    this.#onLoaded = onLoaded;
  }

  /** Undefined until it was needed and loaded. */
  get highlight(): Highlight | undefined {
    return this.#highlight;
  }

  /** Load them.  Where that failed, who needs them next tries again. */
  async need(): Promise<void> {
    if (this.#isLoading || this.#highlight !== undefined) return;
    this.#isLoading = true;
    try {
      this.#highlight = (await this.#load()).highlight;
      this.#onLoaded();
    } catch (error) {
      // Without a connection code is plain, and that is all.
      if (!(error instanceof TypeError)) throw error;
    } finally {
      this.#isLoading = false;
    }
  }
}
