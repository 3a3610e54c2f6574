/** The models that a server has, asked for until there are any. */

import { type Get, modelNames } from "./server.ts";

const AGAIN_MS = 3_000;

export interface ModelsOptions {
  readonly get: Get;
  /** Whether asking again could bring another answer: not while the server waits for a key. */
  readonly isWorthAsking: () => boolean;
  /** Called after each answer. */
  readonly onChange: () => void;
}

export class Models {
  readonly #options: ModelsOptions;
  #names: readonly string[] = [];
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(options: ModelsOptions) {
    this.#options = options;
  }

  /** None until the server was heard. */
  get names(): readonly string[] {
    return this.#names;
  }

  /** Learn the names; as long as there are none, try again. */
  async meet(): Promise<void> {
    this.#names = await modelNames(this.#options.get);
    clearTimeout(this.#timer);
    if (this.#names.length === 0 && this.#options.isWorthAsking())
      this.#timer = setTimeout(() => void this.meet(), AGAIN_MS);
    this.#options.onChange();
  }
}
