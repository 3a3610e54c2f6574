/** The way in, where the server asks who one is: a key of this tab, and tickets made from it. */

import { Unauthorised } from "../client/index.ts";
import { isFields } from "./shape.ts";
import { allowed, type Store } from "./shelf.ts";

const NAME = "tokenwire.key";

/** Whether the user has to show a key: none is asked for, one is, or the one shown was not known. */
export type Asking = "nothing" | "key" | "another";

export class Access {
  readonly #store: Store | undefined;
  readonly #fetch: typeof fetch;
  readonly #onAsking: () => void;
  #key: string | undefined;
  #asking: Asking = "nothing";

  /** `store` is that of the tab; `onAsking` is called when `asking` has changed. */
  constructor(store: Store | undefined, get: typeof fetch, onAsking: () => void) {
    this.#store = store;
    this.#fetch = get;
    this.#onAsking = onAsking;
    allowed(() => {
      this.#key = store?.getItem(NAME) ?? undefined;
    });
  }

  get asking(): Asking {
    return this.#asking;
  }

  /** Use a key from now on, in this tab. */
  use(key: string): void {
    this.#key = key;
    this.#ask("nothing");
    allowed(() => this.#store?.setItem(NAME, key));
  }

  /** Ask the server for something, as whoever the key stands for. */
  async get(path: string, options: RequestInit = {}): Promise<Response> {
    const key = this.#key;
    const headers = new Headers(options.headers);
    headers.set("Accept", "application/json");
    if (key !== undefined) headers.set("Authorization", `Bearer ${key}`);
    const answer = await this.#fetch(path, { ...options, headers });
    // A key that was changed meanwhile is not what was refused.
    if (answer.status === 401 && key === this.#key) this.#ask(key === undefined ? "key" : "another");
    return answer;
  }

  /** Get a ticket for one handshake; undefined while the server has not asked for a key. */
  async ticket(): Promise<string | undefined> {
    if (this.#asking !== "nothing") throw new Unauthorised();
    if (this.#key === undefined) return undefined;
    const answer = await this.get("/v1/ws-tickets", { method: "POST" });
    if (answer.status === 401) throw new Unauthorised();
    const body: unknown = answer.ok ? await answer.json() : undefined;
    if (!isFields(body) || typeof body.ticket !== "string") throw new TypeError("There was no ticket.");
    return body.ticket;
  }

  #ask(asking: Asking): void {
    if (this.#asking === asking) return;
    this.#asking = asking;
    this.#onAsking();
  }
}
