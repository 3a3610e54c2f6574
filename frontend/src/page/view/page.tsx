/** The whole page, from the scene. */

import { Component, createRef } from "preact";
import { Composer } from "./composer.tsx";
import { Head } from "./head.tsx";
import { Glyph, Icon } from "./icons.tsx";
import { KeyBox } from "./key.tsx";
import { List } from "./list.tsx";
import { ParameterSheet } from "./parameters.tsx";
import type { Actions, Scene } from "./scene.ts";
import { Tool, TurnView } from "./turn.tsx";

interface Properties {
  readonly scene: Scene;
  readonly actions: Actions;
}

/** Distance from the end, in pixels, within which who comes down follows the text. */
const NEAR_END = 64;
/** Distance that is none: browsers round. */
const AT_END = 2;

export class Page extends Component<Properties, { isFollowing: boolean }> {
  override readonly state = { isFollowing: true };
  readonly #scroller = createRef<HTMLElement>();
  readonly #sheet = createRef<HTMLDialogElement>();
  /** Where it was scrolled to; what grows below moves nothing. */
  #top = 0;

  override componentDidUpdate(before: Properties): void {
    const { open, turns } = this.props.scene;
    const isOther = before.scene.open !== open || before.scene.turns.length < turns.length;
    // What stands there before anything was asked is read from its beginning.
    if (turns.length > 0 && (isOther || this.state.isFollowing)) this.#toEnd();
  }

  override render({ scene, actions }: Properties) {
    const { words } = scene;
    return (
      <>
        <button class="skip" type="button" onClick={() => document.getElementById("prompt")?.focus()}>
          {words.skip}
        </button>
        <List scene={scene} actions={actions} />
        {/* biome-ignore lint/a11y/noStaticElementInteractions lint/a11y/useKeyWithClickEvents: a click beside the list; its own button closes it too */}
        <div class="scrim" data-open={scene.isListOpen || undefined} onClick={() => actions.list(false)} />
        <main class="main" inert={scene.isListOpen && matchMedia("(width < 56rem)").matches}>
          <Head
            words={words}
            title={scene.title}
            models={scene.models}
            model={scene.model}
            actions={actions}
            openParameters={this.#openParameters}
          />
          {this.#conversation()}
          <div class="foot">
            {!this.state.isFollowing && scene.turns.length > 0 && (
              <button
                class="to-end"
                type="button"
                aria-label={words.toEnd}
                title={words.toEnd}
                onClick={() => this.#toEnd()}
              >
                <Icon name="down" />
              </button>
            )}
            <Composer
              words={words}
              line={scene.line}
              isBusy={scene.isBusy}
              isReadOnly={scene.isReadOnly}
              model={scene.models.length === 0 ? undefined : scene.model}
              send={actions.send}
              stop={actions.stop}
            />
          </div>
        </main>
        <ParameterSheet words={words} preferences={scene.preferences} actions={actions} sheet={this.#sheet} />
        <p class="unseen" role="status" aria-live="polite" id="spoken">
          {scene.spoken}
        </p>
        <KeyBox asking={scene.asking} words={words} use={actions.useKey} />
        <NoticeBox scene={scene} actions={actions} />
      </>
    );
  }

  #conversation() {
    const { scene, actions } = this.props;
    const { words } = scene;
    return (
      <section
        class="scroller"
        aria-label={scene.title}
        id="scroller"
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable by keyboard
        tabIndex={0}
        ref={this.#scroller}
        onScroll={() => this.#scrolled()}
      >
        {scene.isReadOnly && <p class="watching">{scene.isBusy ? words.watching : words.watched}</p>}
        {scene.turns.length === 0 && <Welcome scene={scene} actions={actions} />}
        <ol class="turns">
          {scene.turns.map(({ turn, versions, isLive, pieces, piecesLost }) => (
            <TurnView
              key={turn.id}
              turn={turn}
              versions={versions}
              isLive={isLive}
              pieces={scene.preferences.tokens ? pieces : undefined}
              count={pieces?.length ?? 0}
              piecesLost={scene.preferences.tokens ? piecesLost : undefined}
              words={words}
              highlight={scene.highlight}
              isReadOnly={scene.isReadOnly}
              isBusy={scene.isBusy}
              actions={actions}
            />
          ))}
        </ol>
      </section>
    );
  }

  readonly #openParameters = (): void => this.#sheet.current?.showModal();

  #toEnd(): void {
    const scroller = this.#scroller.current;
    if (scroller === null) return;
    scroller.scrollTop = scroller.scrollHeight;
    this.#top = scroller.scrollTop;
    if (!this.state.isFollowing) this.setState({ isFollowing: true });
  }

  #scrolled(): void {
    const scroller = this.#scroller.current;
    if (scroller === null) return;
    const { scrollHeight, scrollTop, clientHeight } = scroller;
    const distance = scrollHeight - scrollTop - clientHeight;
    // Only going up lets go of the end, however little: a text that grew faster than the view followed does not, and
    // neither does one that became shorter and took the view along.
    const isFollowing =
      scrollTop < this.#top ? distance < AT_END : distance < NEAR_END || this.state.isFollowing;
    this.#top = scrollTop;
    if (isFollowing !== this.state.isFollowing) this.setState({ isFollowing });
  }
}

function Welcome({ scene, actions }: Properties) {
  const { words } = scene;
  return (
    <div class="welcome" id="welcome">
      <Glyph />
      <h2>{words.welcome}</h2>
      <p>{words.welcomeMore}</p>
      <ul>
        {words.suggestions.map((suggestion) => (
          <li key={suggestion}>
            <button type="button" onClick={() => actions.send(suggestion)}>
              {suggestion}
            </button>
          </li>
        ))}
      </ul>
    </div>
  );
}

function NoticeBox({ scene, actions }: Properties) {
  const { words, notice } = scene;
  return (
    <div class="notices" role="status">
      {notice !== undefined && (
        <p class="notice">
          <span class="notice-text">{notice.text}</span>
          {notice.undo !== undefined && (
            <button class="quiet" type="button" onClick={notice.undo}>
              {words.undo}
            </button>
          )}
          <Tool icon="close" label={words.dismiss} act={actions.dismiss} />
        </p>
      )}
    </div>
  );
}
