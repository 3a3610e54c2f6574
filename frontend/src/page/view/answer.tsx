/** An answer's text: written by `Ink` as Markdown, or in the pieces that it came in. */

import { Component, createRef } from "preact";
import { type Highlight, Ink } from "../markdown/ink.ts";
import type { Piece } from "../pieces.ts";
import type { Words } from "../words/index.ts";

interface TextProperties {
  readonly text: string;
  readonly isLive: boolean;
  readonly words: Words;
  readonly highlight: Highlight | undefined;
  readonly needColours: () => void;
  readonly copy: (text: string) => void;
}

/** Preact draws the box, and never looks into it. */
export class AnswerText extends Component<TextProperties> {
  readonly #box = createRef<HTMLDivElement>();
  #ink: Ink | undefined;
  /** Of code, when colours were last asked for. */
  #blocks = 0;

  override componentDidMount(): void {
    this.#box.current?.addEventListener("click", (event) => this.#clicked(event));
    this.#write();
  }

  override componentDidUpdate(before: TextProperties): void {
    const { words, highlight } = this.props;
    if (before.words !== words || before.highlight !== highlight) this.#ink = undefined;
    this.#write();
  }

  override render({ isLive }: TextProperties) {
    return <div class="answer" dir="auto" ref={this.#box} data-live={isLive || undefined} />;
  }

  #write(): void {
    const box = this.#box.current;
    if (box === null) return;
    const { text, isLive, words } = this.props;
    if (this.#ink === undefined) {
      box.replaceChildren();
      this.#ink = new Ink(box, words.copy, () => this.props.highlight);
    }
    this.#ink.write(text, !isLive);
    if (this.props.highlight === undefined) this.#seekColours(box);
  }

  /** Every block of code is one more reason, for those that came before may have failed. */
  #seekColours(box: Element): void {
    const blocks = box.querySelectorAll("pre").length;
    if (blocks > this.#blocks) this.props.needColours();
    this.#blocks = blocks;
  }

  #clicked({ target }: Event): void {
    const button = target instanceof Element ? target.closest("button.copy") : null;
    const code = button?.closest(".code")?.querySelector("code");
    if (code) this.props.copy(code.textContent ?? "");
  }
}

/** The pieces of an answer, each with a border, and coloured by how likely it was. */
export class AnswerPieces extends Component<{ pieces: readonly Piece[]; count: number; words: Words }> {
  readonly #box = createRef<HTMLDivElement>();
  #shown = 0;

  override componentDidMount(): void {
    this.#write();
  }

  override componentDidUpdate(): void {
    this.#write();
  }

  override render() {
    return <div class="answer pieces" dir="auto" ref={this.#box} />;
  }

  #write(): void {
    const { pieces, words } = this.props;
    const fresh = pieces.slice(this.#shown).map((piece) => pieceElement(piece, words));
    this.#shown = pieces.length;
    this.#box.current?.append(...fresh);
  }
}

function pieceElement({ text, logprob }: Piece, words: Words): HTMLElement {
  const span = document.createElement("span");
  span.textContent = text;
  if (logprob === undefined) return span;
  const share = Math.exp(logprob);
  span.dataset.likely = String(levelOf(share));
  span.title = words.likely((share * 100).toFixed(1));
  return span;
}

/** Put a probability on one of five levels, 0 the least likely. */
export function levelOf(share: number): number {
  return [0.05, 0.2, 0.5, 0.8].filter((bound) => share >= bound).length;
}
