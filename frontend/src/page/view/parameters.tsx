/**
 * The sheet of parameters: how a model is asked.
 *
 * The browser holds what is written into a field: a page that is drawn again meanwhile must not put it back.
 */

import { Fragment, type RefObject } from "preact";
import { useState } from "preact/hooks";
import {
  BOUNDS,
  type NumberName,
  numberIn,
  type Parameters,
  PLAIN,
  type Preferences,
} from "../preferences.ts";
import type { Words } from "../words/index.ts";
import { kept } from "./kept.ts";
import type { Actions } from "./scene.ts";
import { Tool } from "./turn.tsx";

interface Properties {
  readonly words: Words;
  readonly preferences: Preferences;
  readonly actions: Actions;
  readonly sheet: RefObject<HTMLDialogElement | null>;
}

const NUMBERS: readonly NumberName[] = ["temperature", "top_p", "max_output_tokens", "seed"];

export const ParameterSheet = kept(({ words, preferences, actions, sheet }: Properties) => {
  const { parameters } = preferences;
  const [resets, setResets] = useState(0);
  return (
    // biome-ignore lint/a11y/useKeyWithClickEvents: Esc closes it by itself; a click beside it does too
    <dialog
      class="sheet"
      ref={sheet}
      aria-labelledby="parameters"
      onClick={(event) => closedBeside(event, sheet)}
    >
      <div class="sheet-body">
        <div class="sheet-head">
          <h2 id="parameters">{words.parameters}</h2>
          <Tool icon="close" label={words.close} act={() => sheet.current?.close()} />
        </div>
        <Fragment key={resets}>
          {NUMBERS.map((name) => (
            <NumberField key={name} name={name} words={words} value={parameters[name]} set={actions.tune} />
          ))}
          <label class="field">
            <span class="field-name">{words.instructions}</span>
            <textarea
              name="instructions"
              rows={4}
              defaultValue={parameters.instructions ?? ""}
              onChange={({ currentTarget }) => actions.tune({ instructions: currentTarget.value })}
            />
            <span class="field-hint">{words.instructionsHint}</span>
          </label>
        </Fragment>
        <Switch
          name="json"
          label={words.json}
          hint={words.jsonHint}
          isOn={preferences.json}
          set={(json) => actions.prefer({ json })}
        />
        <Switch
          name="tokens"
          label={words.tokenView}
          hint={words.tokenViewHint}
          isOn={preferences.tokens}
          set={(tokens) => actions.prefer({ tokens })}
        />
        <button
          class="quiet"
          type="button"
          onClick={() => {
            actions.prefer({ parameters: PLAIN.parameters, tokens: false, json: false });
            setResets(resets + 1);
          }}
        >
          {words.reset}
        </button>
      </div>
    </dialog>
  );
});

interface SwitchProperties {
  readonly name: string;
  readonly label: string;
  readonly hint: string;
  readonly isOn: boolean;
  readonly set: (isOn: boolean) => void;
}

function Switch({ name, label, hint, isOn, set }: SwitchProperties) {
  return (
    <label class="field check">
      <input
        type="checkbox"
        name={name}
        checked={isOn}
        onChange={({ currentTarget }) => set(currentTarget.checked)}
      />
      <span class="field-name">{label}</span>
      <span class="field-hint">{hint}</span>
    </label>
  );
}

interface NumberProperties {
  readonly name: NumberName;
  readonly words: Words;
  readonly value: number | undefined;
  readonly set: (change: Partial<Parameters>) => void;
}

function NumberField({ name, words, value, set }: NumberProperties) {
  const { min, max, whole } = BOUNDS[name];
  const read = (box: HTMLInputElement) => {
    const typed = numberIn(name, box.value);
    box.setCustomValidity(typed === undefined && box.value !== "" ? words.outOfRange(min, max) : "");
    if (box.reportValidity()) set({ [name]: typed });
  };
  return (
    <label class="field">
      <span class="field-name">{words[name]}</span>
      <input
        name={name}
        type="number"
        inputMode={whole ? "numeric" : "decimal"}
        min={min}
        max={max}
        step={whole ? 1 : "any"}
        placeholder={words.serverChooses}
        defaultValue={value ?? ""}
        onChange={({ currentTarget }) => read(currentTarget)}
      />
      <span class="field-hint">{words[`${name}Hint`]}</span>
    </label>
  );
}

function closedBeside({ target }: Event, sheet: RefObject<HTMLDialogElement | null>): void {
  if (target === sheet.current) sheet.current?.close();
}
