/** The line above a conversation: its title, the model that answers, and the way to the parameters. */

import type { Actions, Scene } from "./scene.ts";
import { Tool } from "./turn.tsx";

interface Properties {
  readonly scene: Scene;
  readonly actions: Actions;
  readonly openParameters: () => void;
}

export function Head({ scene, actions, openParameters }: Properties) {
  const { words } = scene;
  return (
    <header class="head">
      <span class="narrow">
        <Tool icon="menu" label={words.openList} act={() => actions.list(true)} />
      </span>
      <h1 class="title" dir="auto">
        {scene.title}
      </h1>
      <ModelChoice scene={scene} actions={actions} />
      <Tool icon="sliders" label={words.parameters} act={openParameters} />
    </header>
  );
}

function ModelChoice({ scene, actions }: Omit<Properties, "openParameters">) {
  const { words, models, model } = scene;
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
