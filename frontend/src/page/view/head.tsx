/** The line above a conversation: its title, the model that answers, and the way to the parameters. */

import type { Words } from "../words/index.ts";
import { kept } from "./kept.ts";
import type { Actions } from "./scene.ts";
import { Tool } from "./turn.tsx";

interface Properties {
  readonly words: Words;
  readonly title: string;
  readonly models: readonly string[];
  /** The one that will answer. */
  readonly model: string | undefined;
  readonly actions: Actions;
  readonly openParameters: () => void;
}

export const Head = kept(({ openParameters, ...properties }: Properties) => {
  const { words, title, actions } = properties;
  return (
    <header class="head">
      <span class="narrow">
        <Tool icon="menu" label={words.openList} act={() => actions.list(true)} />
      </span>
      <h1 class="title" dir="auto">
        {title}
      </h1>
      <ModelChoice {...properties} />
      <Tool icon="sliders" label={words.parameters} act={openParameters} />
    </header>
  );
});

function ModelChoice({ words, models, model, actions }: Omit<Properties, "openParameters">) {
  if (models.length < 2) return <p id="model">{model ?? words.noModel}</p>;
  return (
    <select
      id="model"
      aria-label={words.model}
      value={model}
      onChange={({ currentTarget }) => actions.prefer({ model: currentTarget.value })}
    >
      {models.map((name) => (
        <option key={name}>{name}</option>
      ))}
    </select>
  );
}
