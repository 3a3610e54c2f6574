/** The conversations, by when they were last changed, and how the page looks and speaks. */

import { useState } from "preact/hooks";
import type { Conversation } from "../conversation.ts";
import type { Preferences, Theme } from "../preferences.ts";
import { hashOf } from "../route.ts";
import { LANGUAGES, type Words } from "../words/index.ts";
import { Glyph, Icon } from "./icons.tsx";
import { kept } from "./kept.ts";
import { Menu } from "./menu.tsx";
import type { Actions, Scene } from "./scene.ts";
import { Tool } from "./turn.tsx";
import { isComposed } from "./typing.ts";

interface Properties {
  readonly scene: Scene;
  readonly actions: Actions;
}

export function List({ scene, actions }: Properties) {
  const { words, conversations } = scene;
  return (
    <nav class="list" id="list" aria-label={words.conversations} data-open={scene.isListOpen || undefined}>
      <div class="list-head">
        <span class="wordmark">
          <Glyph />
          tokenwire
        </span>
        <span class="narrow">
          <Tool icon="close" label={words.closeList} act={() => actions.list(false)} />
        </span>
      </div>
      <button class="fresh" id="fresh" type="button" onClick={actions.fresh}>
        <Icon name="plus" />
        {words.fresh}
      </button>
      <div class="shelf">
        {conversations.length === 0 && <p class="hint">{words.nothingYet}</p>}
        {periods(words, conversations, scene.now).map(([name, within]) => (
          <section key={name}>
            <h2 class="period">{name}</h2>
            <ul>
              {within.map(({ id, title }) => (
                <Entry
                  key={id}
                  id={id}
                  title={title || words.untitled}
                  isOpen={scene.open === id}
                  isBusy={scene.busy.has(id)}
                  words={words}
                  actions={actions}
                />
              ))}
            </ul>
          </section>
        ))}
      </div>
      <Looks words={words} preferences={scene.preferences} actions={actions} />
    </nav>
  );
}

interface EntryProperties {
  readonly id: string;
  readonly title: string;
  readonly isOpen: boolean;
  readonly isBusy: boolean;
  readonly words: Words;
  readonly actions: Actions;
}

const Entry = kept(({ id, title, isOpen, isBusy, words, actions }: EntryProperties) => {
  const [isNamed, setNamed] = useState(false);
  if (isNamed) {
    const done = (name: string) => {
      setNamed(false);
      actions.rename(id, name);
    };
    return (
      <li>
        <NameBox label={words.newName} name={title} done={done} />
      </li>
    );
  }
  return (
    <li class="entry">
      <a href={hashOf({ kind: "conversation", id })} aria-current={isOpen ? "page" : undefined}>
        <span class="title" dir="auto">
          {title}
        </span>
        {isBusy && <span class="pulse" title={words.generating} />}
      </a>
      <Menu id={`menu-${id}`} label={words.more(title)} icon="more">
        <button type="button" onClick={() => setNamed(true)}>
          {words.rename}
        </button>
        <button type="button" onClick={() => actions.save(id, "markdown")}>
          {words.exportMarkdown}
        </button>
        <button type="button" onClick={() => actions.save(id, "json")}>
          {words.exportJson}
        </button>
        <button class="bad" type="button" onClick={() => actions.remove(id)}>
          {words.remove}
        </button>
      </Menu>
    </li>
  );
});

interface NameProperties {
  readonly label: string;
  readonly name: string;
  readonly done: (name: string) => void;
}

function NameBox({ label, name, done }: NameProperties) {
  return (
    <input
      class="name"
      aria-label={label}
      dir="auto"
      defaultValue={name}
      ref={(box) => {
        if (box === null || document.activeElement === box) return;
        box.focus();
        box.select();
      }}
      onBlur={({ currentTarget }) => done(currentTarget.value)}
      onKeyDown={(event) => {
        if (isComposed(event)) return;
        if (event.key === "Enter") event.currentTarget.blur();
        if (event.key !== "Escape") return;
        event.stopPropagation();
        event.currentTarget.value = name;
        event.currentTarget.blur();
      }}
    />
  );
}

interface LooksProperties {
  readonly words: Words;
  readonly preferences: Preferences;
  readonly actions: Actions;
}

const Looks = kept(({ words, preferences, actions }: LooksProperties) => {
  const themes: readonly Theme[] = ["system", "light", "dark"];
  return (
    <div class="looks">
      <select
        id="theme"
        aria-label={words.theme}
        value={preferences.theme}
        onChange={({ currentTarget }) => actions.prefer({ theme: currentTarget.value as Theme })}
      >
        {themes.map((theme) => (
          <option key={theme} value={theme}>
            {words.themes[theme]}
          </option>
        ))}
      </select>
      <select
        id="language"
        aria-label={words.language}
        value={words.tag.slice(0, 2)}
        onChange={({ currentTarget }) =>
          actions.prefer({ language: currentTarget.value === "zh" ? "zh" : "en" })
        }
      >
        {Object.entries(LANGUAGES).map(([language, { name, tag }]) => (
          <option key={language} value={language} lang={tag}>
            {name}
          </option>
        ))}
      </select>
    </div>
  );
});

const DAY = 86_400_000;

/** Put conversations, newest first, under the names of their times; a time without any is left out. */
export function periods(
  words: Words,
  conversations: readonly Conversation[],
  now: number,
): [string, readonly Conversation[]][] {
  const midnight = new Date(now).setHours(0, 0, 0, 0);
  const bounds: [string, number][] = [
    [words.today, midnight],
    [words.yesterday, midnight - DAY],
    [words.week, midnight - 7 * DAY],
    [words.older, Number.NEGATIVE_INFINITY],
  ];
  const nameOf = ({ changedAt }: Conversation) => bounds.find(([, start]) => changedAt >= start)?.[0];
  return bounds
    .map(([name]): [string, Conversation[]] => [name, conversations.filter((each) => nameOf(each) === name)])
    .filter(([, within]) => within.length > 0);
}
