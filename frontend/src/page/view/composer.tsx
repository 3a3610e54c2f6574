/** The box that questions are written in, and the line that says how things stand. */

import { Component, createRef } from "preact";
import type { StateLine } from "../telling.ts";
import type { Words } from "../words/index.ts";
import { Icon } from "./icons.tsx";
import { onEnter } from "./typing.ts";

/** Send and Stop stand in one place: the second click of a double one was meant for the button before. */
const ONCE = 1;

interface Properties {
  readonly words: Words;
  readonly line: StateLine;
  readonly isBusy: boolean;
  readonly isReadOnly: boolean;
  readonly model: string | undefined;
  readonly send: (prompt: string) => void;
  readonly stop: () => void;
}

export class Composer extends Component<Properties> {
  readonly #box = createRef<HTMLTextAreaElement>();

  override componentDidUpdate(before: Properties): void {
    // The button under the pointer or the focus was changed for another one.
    if (before.isBusy !== this.props.isBusy && document.activeElement === document.body) this.#focus();
  }

  override render({ words, line, isBusy, isReadOnly, model, stop }: Properties) {
    return (
      <form class="composer" onSubmit={(event) => this.#submitted(event)}>
        <p id="state" class="state" data-tone={line.tone}>
          <span class="beads" aria-hidden="true">
            <i />
            <i />
            <i />
          </span>
          <span class="line">{line.text}</span>
        </p>
        {!isReadOnly && (
          <div class="box">
            <textarea
              id="prompt"
              name="prompt"
              rows={1}
              ref={this.#box}
              dir="auto"
              placeholder={model === undefined ? words.message : words.ask(model)}
              aria-label={words.message}
              aria-describedby="keys"
              autocomplete="off"
              enterkeyhint="send"
              onKeyDown={(event) => onEnter(event, () => this.#send())}
            />
            {isBusy ? (
              <button
                key="stop"
                class="round stop"
                type="button"
                aria-label={words.stop}
                title={words.stop}
                onClick={({ detail }) => detail <= ONCE && stop()}
              >
                <Icon name="square" />
              </button>
            ) : (
              <button
                key="send"
                class="round"
                type="submit"
                aria-label={words.send}
                title={words.send}
                onClick={(event) => event.detail > ONCE && event.preventDefault()}
              >
                <Icon name="up" />
              </button>
            )}
          </div>
        )}
        {!isReadOnly && (
          <p id="keys" class="keys">
            {words.keys}
          </p>
        )}
      </form>
    );
  }

  #submitted(event: Event): void {
    event.preventDefault();
    this.#send();
  }

  #send(): void {
    const box = this.#box.current;
    if (box === null || this.props.isBusy || box.value.trim() === "") return;
    this.props.send(box.value.trim());
    box.value = "";
  }

  /** On touch screens the text box would open the keyboard. */
  #focus(): void {
    if (matchMedia("(hover: hover)").matches) this.#box.current?.focus();
  }
}
