/** The one notice that stands, and the time after which it goes. */

import type { Notice } from "./view/scene.ts";

const STANDS_MS = 8_000;

export class Notices {
  readonly #onChange: () => void;
  #current: Notice | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(onChange: () => void) {
    this.#onChange = onChange;
  }

  get current(): Notice | undefined {
    return this.#current;
  }

  /** Show a notice in place of the one that stands. */
  say(notice: Notice): void {
    this.#show(notice);
    this.#timer = setTimeout(() => this.dismiss(), STANDS_MS);
  }

  dismiss(): void {
    this.#show(undefined);
  }

  #show(notice: Notice | undefined): void {
    clearTimeout(this.#timer);
    this.#current = notice;
    this.#onChange();
  }
}
