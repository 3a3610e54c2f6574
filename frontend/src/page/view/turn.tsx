/** One turn: the question, the answer, and what may be done with either. */

import { useLayoutEffect, useRef, useState } from "preact/hooks";
import type { Turn } from "../conversation.ts";
import type { Highlight } from "../markdown/ink.ts";
import type { Piece } from "../pieces.ts";
import { evenness, type Fact, facts, note } from "../telling.ts";
import type { Words } from "../words/index.ts";
import { AnswerPieces, AnswerText } from "./answer.tsx";
import { Gaps } from "./gaps.tsx";
import { Icon, type IconName } from "./icons.tsx";
import { kept } from "./kept.ts";
import type { Actions } from "./scene.ts";
import { isComposed, onEnter } from "./typing.ts";

interface Properties {
  readonly turn: Turn;
  readonly versions: string;
  readonly isLive: boolean;
  readonly pieces: readonly Piece[] | undefined;
  /** How many pieces there are: the list itself grows in place. */
  readonly count: number;
  readonly piecesLost: string | undefined;
  readonly words: Words;
  readonly highlight: Highlight | undefined;
  readonly isReadOnly: boolean;
  readonly isBusy: boolean;
  readonly actions: Actions;
}

/** Says whether a question may be too tall to be shown whole. */
function isLong(prompt: string): boolean {
  return prompt.length > 400 || prompt.split("\n").length > 12;
}

export const TurnView = kept((properties: Properties) => {
  const { turn } = properties;
  return (
    <li class="turn" id={`turn-${turn.id}`}>
      {turn.prompt !== "" && <Question {...properties} />}
      <Reply {...properties} />
    </li>
  );
});

function Question(properties: Properties) {
  const [isEdited, setEdited] = useState(false);
  const { turn, words, isReadOnly, isBusy, actions } = properties;
  if (isEdited) return <Editor {...properties} close={() => setEdited(false)} />;
  return (
    <article class="asked" aria-labelledby={`you-${turn.id}`}>
      <h2 class="said-by" id={`you-${turn.id}`}>
        {words.you}
      </h2>
      <div class="prompt" dir="auto" tabIndex={isLong(turn.prompt) ? 0 : undefined}>
        {turn.prompt}
      </div>
      <div class="tools">
        <Tool icon="copy" label={words.copyMessage} act={() => actions.copy(turn.prompt)} />
        {!isReadOnly && <Tool icon="edit" label={words.edit} isOff={isBusy} act={() => setEdited(true)} />}
      </div>
    </article>
  );
}

/** The browser holds what is written: a page that is drawn again meanwhile must not put it back. */
function Editor({ turn, words, isBusy, actions, close }: Properties & { close: () => void }) {
  const box = useRef<HTMLTextAreaElement>(null);
  const resend = () => {
    const text = box.current?.value.trim() ?? "";
    if (text === "" || isBusy) return;
    close();
    actions.edit(turn, text);
  };
  useLayoutEffect(() => box.current?.focus(), []);
  return (
    <form
      class="editor"
      onSubmit={(event) => {
        event.preventDefault();
        resend();
      }}
    >
      <textarea
        aria-label={words.editing}
        dir="auto"
        defaultValue={turn.prompt}
        ref={box}
        onKeyDown={(event) => {
          if (event.key === "Escape" && !isComposed(event)) {
            event.stopPropagation();
            close();
          } else onEnter(event, resend);
        }}
      />
      <div class="row">
        <button class="quiet" type="button" onClick={close}>
          {words.cancel}
        </button>
        <button class="act" type="submit" disabled={isBusy}>
          {words.resend}
        </button>
      </div>
    </form>
  );
}

function Reply(properties: Properties) {
  const { turn, words, isLive, pieces, count, piecesLost, highlight, actions } = properties;
  const wrong = note(words, turn.outcome);
  return (
    <article class="reply" aria-labelledby={`answer-${turn.id}`} aria-busy={isLive}>
      <h2 class="said-by" id={`answer-${turn.id}`}>
        {words.answer}
      </h2>
      {pieces !== undefined ? (
        <>
          <AnswerPieces pieces={pieces} count={count} words={words} />
          {pieces[0]?.logprob !== undefined && <Legend words={words} />}
        </>
      ) : (
        <AnswerText
          text={turn.text}
          isLive={isLive}
          words={words}
          highlight={highlight}
          needColours={actions.needColours}
          copy={actions.copy}
        />
      )}
      {piecesLost !== undefined && <p class="legend">{words.piecesLost(piecesLost)}</p>}
      {wrong !== "" && (
        <p class="note" data-bad={turn.outcome?.status === "failed" || undefined}>
          {wrong}
        </p>
      )}
      <SmallPrint {...properties} />
    </article>
  );
}

/** What the colours of pieces say, from the least likely to the likeliest. */
function Legend({ words }: Pick<Properties, "words">) {
  return (
    <p class="legend">
      {words.unlikely}
      <i />
      <i />
      <i />
      <i />
      <i />
      {words.likeliest}
    </p>
  );
}

function SmallPrint(properties: Properties) {
  const { turn, words, actions } = properties;
  const gaps = turn.timing?.gaps ?? [];
  return (
    <div class="small">
      <ul class="facts">
        {facts(words, turn).map(({ text, hint }) => (
          <li key={text}>{hint === undefined ? text : <Hinted text={text} hint={hint} />}</li>
        ))}
      </ul>
      <Gaps gaps={gaps} label={`${words.gaps}. ${evenness(words, gaps)}`} />
      {turn.responseId !== undefined && (
        <button
          class="id"
          type="button"
          title={words.responseId}
          onClick={() => actions.copy(turn.responseId ?? "")}
        >
          {turn.responseId}
        </button>
      )}
      <ReplyTools {...properties} />
    </div>
  );
}

/** What a fact means or is made of: a tooltip would be for those with a mouse alone. */
function Hinted({ text, hint }: Required<Fact>) {
  return (
    <details>
      <summary>{text}</summary>
      <span class="hint">{hint}</span>
    </details>
  );
}

function ReplyTools({ turn, versions, words, isLive, isReadOnly, isBusy, actions }: Properties) {
  return (
    <div class="tools">
      {versions.includes(" ") && <Versions turn={turn} versions={versions} words={words} actions={actions} />}
      {!isLive && turn.text !== "" && (
        <Tool icon="copy" label={words.copyAnswer} act={() => actions.copy(turn.text)} />
      )}
      {!(isLive || isReadOnly) && (
        <Tool icon="again" label={words.regenerate} isOff={isBusy} act={() => actions.again(turn)} />
      )}
      {turn.responseId !== undefined && (
        <Tool icon="link" label={words.share} act={() => actions.share(turn)} />
      )}
    </div>
  );
}

type VersionsProperties = Pick<Properties, "turn" | "versions" | "words" | "actions">;

function Versions({ turn, versions, words, actions }: VersionsProperties) {
  const ids = versions.split(" ");
  const at = ids.indexOf(turn.id);
  const step = (by: number) => {
    const other = ids[at + by];
    if (other !== undefined) actions.show(other);
  };
  return (
    <span class="versions">
      <Tool icon="left" label={words.previous} isOff={at === 0} act={() => step(-1)} />
      <span>{words.version(at + 1, ids.length)}</span>
      <Tool icon="right" label={words.next} isOff={at === ids.length - 1} act={() => step(1)} />
    </span>
  );
}

interface ToolProperties {
  readonly icon: IconName;
  readonly label: string;
  readonly isOff?: boolean;
  readonly act: () => void;
}

export function Tool({ icon, label, isOff = false, act }: ToolProperties) {
  return (
    <button class="tool" type="button" aria-label={label} title={label} disabled={isOff} onClick={act}>
      <Icon name={icon} />
    </button>
  );
}
