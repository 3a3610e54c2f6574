/** What is to be seen, as one value, and what may be done about it. */

import type { Asking } from "../access.ts";
import type { Conversation, Turn } from "../conversation.ts";
import type { Highlight } from "../markdown/ink.ts";
import type { Piece } from "../pieces.ts";
import type { Parameters, Preferences } from "../preferences.ts";
import type { StateLine } from "../telling.ts";
import type { Words } from "../words/index.ts";

/** A short message in passing, perhaps with a way back. */
export interface Notice {
  readonly text: string;
  readonly undo?: () => void;
}

/** A turn as it is shown. */
export interface Shown {
  readonly turn: Turn;
  /** Ids of its versions, itself among them, oldest first: in one string, so that an equal list is the same. */
  readonly versions: string;
  readonly isLive: boolean;
  /** Undefined if this page did not see them come and has not read them again. */
  readonly pieces: readonly Piece[] | undefined;
  /** Why they cannot be read again; undefined if that is not so. */
  readonly piecesLost: string | undefined;
}

export interface Scene {
  readonly words: Words;
  readonly preferences: Preferences;
  readonly models: readonly string[];
  /** The one that will answer. */
  readonly model: string | undefined;
  /** Unix milliseconds. */
  readonly now: number;
  readonly conversations: readonly Conversation[];
  /** Ids of conversations whose answer is in flight. */
  readonly busy: ReadonlySet<string>;
  /** The one that is open, if it is one of them. */
  readonly open: string | undefined;
  readonly title: string;
  readonly turns: readonly Shown[];
  /** Somebody else's answer: it can only be read. */
  readonly isReadOnly: boolean;
  readonly isBusy: boolean;
  readonly line: StateLine;
  /** What a screen reader is told. */
  readonly spoken: string;
  readonly notice: Notice | undefined;
  readonly isListOpen: boolean;
  /** Undefined until it was needed and loaded. */
  readonly highlight: Highlight | undefined;
  /** Whether the server asks for a key. */
  readonly asking: Asking;
}

export interface Actions {
  send(prompt: string): void;
  stop(): void;
  fresh(): void;
  rename(id: string, title: string): void;
  remove(id: string): void;
  save(id: string, as: "markdown" | "json"): void;
  again(turn: Turn): void;
  edit(turn: Turn, prompt: string): void;
  /** Show another version of a turn. */
  show(id: string): void;
  copy(text: string, notice?: string): void;
  share(turn: Turn): void;
  prefer(change: Partial<Preferences>): void;
  /** Change parameters; what is undefined or empty is left to the server. */
  tune(change: Partial<Parameters>): void;
  list(isOpen: boolean): void;
  dismiss(): void;
  useKey(key: string): void;
  /** There is code to be coloured. */
  needColours(): void;
}
