/** From everything that is known to what is to be seen; pure. */

import { inFlight } from "../client/index.ts";
import { branch, type Conversation, siblings, type Turn } from "./conversation.ts";
import type { Stream } from "./stream.ts";
import { spoken, stateLine } from "./telling.ts";
import type { Scene, Shown } from "./view/scene.ts";

type Passed =
  | "words"
  | "preferences"
  | "models"
  | "now"
  | "conversations"
  | "busy"
  | "notice"
  | "isListOpen"
  | "highlight"
  | "asking";

export interface Known extends Pick<Scene, Passed> {
  /** The one that is open. */
  readonly conversation: Conversation | undefined;
  /** The line of what is open. */
  readonly stream: Stream | undefined;
  readonly isWatching: boolean;
}

/** Name of the line on which a response of another page is watched. */
export function watchKey(responseId: string): string {
  return `watch ${responseId}`;
}

export function sceneOf({ conversation, stream, isWatching, ...passed }: Known): Scene {
  const { words } = passed;
  const state = stream?.state;
  const { waiting } = stream ?? {};
  const circumstances = {
    reloaded: (stream?.reloaded ?? false) && !isWatching,
    ...(waiting ? { waiting } : {}),
  };
  return {
    ...passed,
    open: conversation?.id,
    title: isWatching ? words.answer : conversation?.title || words.untitled,
    turns: turnsOf(conversation, stream, isWatching),
    isReadOnly: isWatching,
    isBusy: state !== undefined && inFlight(state),
    line: stateLine(words, state, circumstances),
    spoken: spoken(words, state, circumstances),
  };
}

function turnsOf(
  conversation: Conversation | undefined,
  stream: Stream | undefined,
  isWatching: boolean,
): readonly Shown[] {
  if (isWatching) return stream?.turn === undefined ? [] : [shown(stream.turn, stream.turn.id, stream)];
  if (conversation === undefined) return [];
  return branch(conversation).map((turn) => {
    const versions = siblings(conversation, turn).map(({ id }) => id);
    return shown(turn, versions.join(" "), stream);
  });
}

function shown(turn: Turn, versions: string, stream: Stream | undefined): Shown {
  const isLive = stream?.turn?.id === turn.id && turn.outcome === undefined;
  return { turn, versions, isLive, pieces: stream?.piecesOf(turn.id) };
}
