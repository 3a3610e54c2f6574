/** What is done with a conversation as a whole: it is named, written to a file, thrown away and taken back. */

import { download } from "./clipboard.ts";
import type { Conversation } from "./conversation.ts";
import { jsonFile, markdownFile } from "./exporting.ts";
import type { Lines } from "./lines.ts";
import type { Notices } from "./notices.ts";
import type { Route } from "./route.ts";
import type { Shelf } from "./shelf.ts";
import type { Words } from "./words/index.ts";

export interface KeeperOptions {
  readonly shelf: Pick<Shelf, "get" | "remove">;
  readonly lines: Pick<Lines, "get" | "attend">;
  readonly notices: Pick<Notices, "say" | "dismiss">;
  readonly words: () => Words;
  readonly isOpen: (id: string) => boolean;
  readonly put: (conversation: Conversation) => void;
  readonly visit: (route: Route) => void;
}

export class Keeper {
  readonly #options: KeeperOptions;

  constructor(options: KeeperOptions) {
    this.#options = options;
  }

  rename(id: string, title: string): void {
    const { shelf, put } = this.#options;
    const conversation = shelf.get(id);
    const name = title.trim();
    if (conversation !== undefined && name !== "" && name !== conversation.title)
      put({ ...conversation, title: name, named: true });
  }

  save(id: string, as: "markdown" | "json"): void {
    const conversation = this.#options.shelf.get(id);
    if (conversation !== undefined)
      download(as === "json" ? jsonFile(conversation) : markdownFile(conversation));
  }

  /** Throw a conversation away, with its answer under way; a notice offers it back. */
  remove(id: string): void {
    const { shelf, lines, notices, words, isOpen, visit } = this.#options;
    const conversation = shelf.get(id);
    if (conversation === undefined) return;
    const wasOpen = isOpen(id);
    lines.get(id)?.stop();
    shelf.remove(id);
    if (wasOpen) visit({ kind: "new" });
    const undo = () => this.#takeBack(conversation, wasOpen);
    notices.say({ text: words().removed(conversation.title || words().untitled), undo });
  }

  #takeBack(conversation: Conversation, wasOpen: boolean): void {
    const { lines, notices, put, visit } = this.#options;
    put(conversation);
    notices.dismiss();
    if (wasOpen) visit({ kind: "conversation", id: conversation.id });
    lines.attend(conversation);
  }
}
