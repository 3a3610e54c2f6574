/**
 * The shelf of conversations in the browser's own store, one entry each, shared by all tabs of this page.
 *
 * A browser may refuse to keep anything (private windows, a full quota): the page works on without, from memory,
 * and `isFull` says so.
 */

import { type Conversation, merge } from "./conversation.ts";
import { conversationIn, parse } from "./shape.ts";

const PREFIX = "tokenwire.conversation.";

/** As much of `Storage` as the shelf touches. */
export type Store = Pick<Storage, "getItem" | "setItem" | "removeItem" | "key" | "length">;

export class Shelf {
  readonly #store: Store | undefined;
  #held = new Map<string, Conversation>();
  #isFull = false;

  constructor(store: Store | undefined) {
    this.#store = store;
    for (const conversation of this.#read()) this.#held.set(conversation.id, conversation);
  }

  /** True if the last change is in this tab's memory alone. */
  get isFull(): boolean {
    return this.#isFull;
  }

  get(id: string): Conversation | undefined {
    return this.#held.get(id);
  }

  /** All conversations, the one changed last first. */
  all(): readonly Conversation[] {
    return [...this.#held.values()].sort((a, b) => b.changedAt - a.changedAt || (a.id < b.id ? -1 : 1));
  }

  /** Hold a newer state in memory: what changes with every token is not worth a write. */
  hold(conversation: Conversation): void {
    this.#held.set(conversation.id, conversation);
  }

  /** Hold a newer state and write it down, beside what other tabs wrote of it. */
  put(conversation: Conversation): void {
    const written = this.#written(conversation.id);
    const whole = written === undefined ? conversation : merge(conversation, written);
    this.hold(whole);
    this.#isFull = !this.#write(whole);
  }

  remove(id: string): void {
    this.#held.delete(id);
    allowed(() => this.#store?.removeItem(PREFIX + id));
  }

  /** Take what another tab wrote; return the id of the conversation that it concerns. */
  heard(key: string | null, value: string | null): string | undefined {
    if (!key?.startsWith(PREFIX)) return undefined;
    const id = key.slice(PREFIX.length);
    const conversation = value === null ? undefined : conversationIn(parse(value));
    const ours = this.#held.get(id);
    if (conversation?.id === id) this.hold(ours === undefined ? conversation : merge(conversation, ours));
    else if (value === null) this.#held.delete(id);
    return id;
  }

  /** Read again what other tabs wrote while this page lay in the browser's cache and heard of nothing. */
  refresh(): void {
    const written = new Map(this.#read().map((conversation) => [conversation.id, conversation]));
    // What found no room is here alone.
    const isGone = (id: string) => !this.#isFull && !written.has(id);
    const held = [...this.#held].filter(([id]) => !isGone(id));
    this.#held = new Map([...written, ...held]);
    for (const [id, conversation] of written)
      this.hold(merge(conversation, this.#held.get(id) ?? conversation));
  }

  #written(id: string): Conversation | undefined {
    let written: string | null | undefined;
    allowed(() => {
      written = this.#store?.getItem(PREFIX + id);
    });
    return conversationIn(parse(written ?? ""));
  }

  #write(conversation: Conversation): boolean {
    const written = JSON.stringify(conversation);
    return (
      allowed(() => this.#store?.setItem(PREFIX + conversation.id, written)) && this.#store !== undefined
    );
  }

  #read(): Conversation[] {
    const found: Conversation[] = [];
    allowed(() => {
      for (const key of keysOf(this.#store)) {
        const conversation = conversationIn(parse(this.#store?.getItem(key) ?? ""));
        if (conversation !== undefined && PREFIX + conversation.id === key) found.push(conversation);
      }
    });
    return found;
  }
}

function keysOf(store: Store | undefined): string[] {
  const keys = Array.from({ length: store?.length ?? 0 }, (_, at) => store?.key(at) ?? "");
  return keys.filter((key) => key.startsWith(PREFIX));
}

/** Do what the browser may refuse; say whether it did not. */
export function allowed(work: () => void): boolean {
  try {
    work();
    return true;
  } catch (error) {
    if (error instanceof DOMException) return false;
    throw error;
  }
}

/** Return one of the browser's stores, or undefined where the page may have none. */
export function storeOf(name: "localStorage" | "sessionStorage"): Storage | undefined {
  let store: Storage | undefined;
  allowed(() => {
    store = globalThis[name];
  });
  return store;
}
