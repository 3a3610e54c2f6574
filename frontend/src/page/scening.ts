/** From everything that is known to what is to be seen; pure. */

import { inFlight } from "../client/index.ts";
import { branch, type Conversation, siblings, type Turn } from "./conversation.ts";
import type { Reading } from "./pieces.ts";
import { chosenModel } from "./preferences.ts";
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
  /** What was read again of a turn's pieces. */
  readonly again: (turn: Turn) => Reading | undefined;
}

/** Name of the line on which a response of another page is watched. */
export function watchKey(responseId: string): string {
  return `watch ${responseId}`;
}

export function sceneOf(known: Known): Scene {
  const { conversation, stream, isWatching, again: _, ...passed } = known;
  const { words } = passed;
  const state = stream?.state;
  const { waiting } = stream ?? {};
  const circumstances = {
    reloaded: (stream?.reloaded ?? false) && !isWatching,
    ...(waiting ? { waiting } : {}),
  };
  return {
    ...passed,
    model: chosenModel(passed.preferences, passed.models) ?? passed.models[0],
    open: conversation?.id,
    title: isWatching ? words.answer : conversation?.title || words.untitled,
    turns: turnsOf(known),
    isReadOnly: isWatching,
    isBusy: state !== undefined && inFlight(state),
    line: stateLine(words, state, circumstances),
    spoken: spoken(words, state, circumstances),
  };
}

function turnsOf({ conversation, stream, isWatching, again }: Known): readonly Shown[] {
  if (isWatching) return stream?.turn === undefined ? [] : [shown(stream.turn, stream.turn.id, stream)];
  if (conversation === undefined) return [];
  return branch(conversation).map((turn) => {
    const versions = siblings(conversation, turn).map(({ id }) => id);
    return shown(turn, versions.join(" "), stream, again(turn));
  });
}

function shown(turn: Turn, versions: string, stream: Stream | undefined, again?: Reading): Shown {
  const isLive = stream?.turn?.id === turn.id && turn.outcome === undefined;
  const pieces = stream?.piecesOf(turn.id) ?? again?.pieces;
  return { turn, versions, isLive, pieces, piecesLost: again?.lost };
}
