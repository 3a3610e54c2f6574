/** Asks for a key, where the server does. */

import type { Asking } from "../access.ts";
import type { Words } from "../words/index.ts";

interface Properties {
  readonly asking: Asking;
  readonly words: Words;
  readonly use: (key: string) => void;
}

export function KeyBox({ asking, words, use }: Properties) {
  if (asking === "nothing") return null;
  return (
    <dialog
      class="key"
      aria-labelledby="key-title"
      ref={(box) => {
        if (box !== null && !box.open) box.showModal();
      }}
    >
      <form
        onSubmit={(event) => {
          event.preventDefault();
          const key = new FormData(event.currentTarget).get("key");
          if (typeof key === "string" && key.trim() !== "") use(key.trim());
        }}
      >
        <h2 id="key-title">{words.keyTitle}</h2>
        <label class="field">
          <span class="field-name">{words.keyLabel}</span>
          <input name="key" type="password" autocomplete="off" required />
          <span class="field-hint">{words.keyHint}</span>
        </label>
        {asking === "another" && (
          <p class="note" data-bad role="alert">
            {words.keyWrong}
          </p>
        )}
        <button class="act" type="submit">
          {words.keySave}
        </button>
      </form>
    </dialog>
  );
}
