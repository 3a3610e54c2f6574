/** Builds the page: the shelf, the lines to the server, one painter, one scene. */

import { h, options, render } from "preact";
import { newKey, responsesUrl } from "../client/index.ts";
import { Access } from "./access.ts";
import { copy } from "./clipboard.ts";
import { Colours } from "./colours.ts";
import { ask, begun, branch, type Conversation, renew, show, type Turn } from "./conversation.ts";
import { Keeper } from "./keeping.ts";
import { Lines } from "./lines.ts";
import { Models } from "./models.ts";
import { Notices } from "./notices.ts";
import { Painter } from "./painter.ts";
import { PieceReader } from "./pieces.ts";
import { Place } from "./place.ts";
import { asked, chosenModel, languageOf, load, type Preferences, save, tuned } from "./preferences.ts";
import { Reporter } from "./reporting.ts";
import { hashOf, type Route, routeOf } from "./route.ts";
import { sceneOf, watchKey } from "./scening.ts";
import { type Get, reportTimes } from "./server.ts";
import { Shelf, storeOf } from "./shelf.ts";
import type { Stream } from "./stream.ts";
import { label } from "./view/label.ts";
import { Page } from "./view/page.tsx";
import type { Actions } from "./view/scene.ts";
import { isComposed } from "./view/typing.ts";
import { LANGUAGES, type Words } from "./words/index.ts";

export class App {
  readonly #root: Element;
  readonly #store = storeOf("localStorage");
  readonly #shelf = new Shelf(this.#store);
  readonly #painter = new Painter(() => this.#paint());
  readonly #repaint = (): void => this.#painter.request();
  readonly #access = new Access(storeOf("sessionStorage"), (path, how) => fetch(path, how), this.#repaint);
  readonly #get: Get = (path) => this.#access.get(path);
  readonly #socket = { url: responsesUrl(location), ticket: () => this.#access.ticket() };
  readonly #reporter = new Reporter({
    send: (report) => reportTimes(report, (path, how) => this.#access.get(String(path), how)),
    later: (flush, ms) => void setTimeout(flush, ms),
  });
  readonly #lines = new Lines({
    ...this.#socket,
    onChange: (key, stream) => this.#changed(key, stream),
    onSample: (sample) => this.#reporter.add(sample),
  });
  readonly #reader = new PieceReader({ ...this.#socket, onChange: this.#repaint });
  readonly #models = new Models({
    get: this.#get,
    isWorthAsking: () => this.#access.asking === "nothing",
    onChange: this.#repaint,
  });
  readonly #place = new Place({
    get: this.#get,
    open: () => this.#lines.get(this.#key),
    onChange: this.#repaint,
  });
  readonly #notices = new Notices(this.#repaint);
  readonly #colours = new Colours(() => import("./markdown/highlight.ts"), this.#repaint);
  readonly #keeper = new Keeper({
    shelf: this.#shelf,
    lines: this.#lines,
    notices: this.#notices,
    words: () => this.#words,
    isOpen: (id) => this.#key === id,
    put: (conversation) => this.#put(conversation),
    visit: (route) => this.#visit(route),
  });
  readonly #actions: Actions = this.#make();
  #preferences: Preferences = load(this.#store);
  #route: Route = routeOf(location.hash);
  #isListOpen = false;

  constructor(root: Element) {
    this.#root = root;
  }

  /** Show what was said before, and read on where a reload cut an answer off. */
  start(): void {
    // What a component changes by itself is painted with everything else: once a frame.
    options.debounceRendering = (paint) => requestAnimationFrame(paint);
    addEventListener("online", () => this.#online());
    addEventListener("pagehide", () => this.#putAway());
    addEventListener("pageshow", ({ persisted }) => persisted && this.#cameBack());
    addEventListener("hashchange", () => this.#go(routeOf(location.hash)));
    addEventListener("storage", ({ key, newValue }) => this.#heard(key, newValue));
    document.addEventListener("keydown", (event) => this.#pressed(event));
    this.#attendAll();
    this.#go(this.#route);
    this.#paint();
    document.getElementById("prompt")?.focus();
    void this.#models.meet();
  }

  get #words(): Words {
    return LANGUAGES[languageOf(this.#preferences, navigator.languages)];
  }

  get #open(): Conversation | undefined {
    return this.#route.kind === "conversation" ? this.#shelf.get(this.#route.id) : undefined;
  }

  /** Name of the line that belongs to what is open. */
  get #key(): string | undefined {
    return this.#route.kind === "watch" ? watchKey(this.#route.responseId) : this.#open?.id;
  }

  #attendAll(): void {
    const chosen = asked(this.#preferences, this.#models.names);
    for (const conversation of this.#shelf.all()) this.#lines.attend(conversation, chosen);
  }

  /** The page was kept whole while people went elsewhere and back: its sockets are dead, and it heard of nothing. */
  #cameBack(): void {
    this.#shelf.refresh();
    this.#online();
    this.#attendAll();
    this.#painter.request();
  }

  #online(): void {
    this.#lines.online();
    this.#reader.online();
  }

  // ---- what is shown

  #go(route: Route): void {
    if (this.#route.kind === "watch" && this.#key !== undefined) this.#lines.leave(this.#key);
    this.#route = route;
    this.#isListOpen = false;
    if (route.kind === "watch") this.#watch(route.responseId);
    this.#painter.request();
    this.#place.ask();
  }

  #watch(responseId: string): void {
    const turn = { id: responseId, parent: null, prompt: "", text: "", tokens: 0, resumes: 0, responseId };
    this.#lines.watch(watchKey(responseId), turn, responseId);
  }

  #visit(route: Route): void {
    history.pushState(null, "", hashOf(route));
    this.#go(route);
  }

  #paint(): void {
    const stream = this.#lines.get(this.#key);
    if (this.#preferences.tokens) this.#readPieces(stream);
    const scene = sceneOf({
      words: this.#words,
      preferences: this.#preferences,
      models: this.#models.names,
      now: Date.now(),
      conversations: this.#shelf.all(),
      conversation: this.#open,
      stream,
      busy: this.#lines.busy(),
      isWatching: this.#route.kind === "watch",
      again: (turn) => this.#reader.of(turn),
      notice: this.#notices.current,
      isListOpen: this.#isListOpen,
      highlight: this.#colours.highlight,
      asking: this.#access.asking,
    });
    label(`${scene.title} · Tokenwire`, scene.words.tag, this.#preferences.theme);
    const before = performance.now();
    render(h(Page, { scene, actions: this.#actions }), this.#root);
    if (scene.isBusy) stream?.meter?.painted(performance.now() - before);
  }

  /** Read what is to be seen and was not seen to come. */
  #readPieces(stream: Stream | undefined): void {
    const turns = this.#open === undefined ? [] : branch(this.#open);
    for (const turn of turns) if (stream?.piecesOf(turn.id) === undefined) this.#reader.want(turn);
  }

  // ---- what answers bring

  #changed(key: string, stream: Stream): void {
    const { turn } = stream;
    const conversation = this.#shelf.get(key);
    if (turn !== undefined && conversation !== undefined) this.#follow(conversation, turn);
    if (stream.state.answer?.phase === "queued") this.#place.ask();
    this.#painter.request();
  }

  #follow(conversation: Conversation, turn: Turn): void {
    const before = conversation.turns.find(({ id }) => id === turn.id);
    // A conversation that was deleted in another tab may still hear of its last answer.
    if (before === undefined) return;
    this.#reporter.resumed(turn.resumes - before.resumes);
    const next = renew(conversation, turn);
    const isNews = turn.responseId !== before.responseId || turn.outcome !== before.outcome;
    if (isNews) this.#put(next);
    else this.#shelf.hold(next);
  }

  #put(conversation: Conversation): void {
    this.#shelf.put(conversation);
    if (this.#shelf.isFull) this.#notices.say({ text: this.#words.full });
    this.#painter.request();
  }

  #putAway(): void {
    for (const id of this.#lines.busy()) {
      const conversation = this.#shelf.get(id);
      if (conversation !== undefined) this.#shelf.put(conversation);
    }
    this.#reporter.flush();
  }

  #heard(key: string | null, value: string | null): void {
    const id = this.#shelf.heard(key, value);
    const conversation = id === undefined ? undefined : this.#shelf.get(id);
    if (conversation !== undefined) this.#lines.attend(conversation);
    this.#painter.request();
  }

  // ---- what the user does

  #make(): Actions {
    return {
      send: (prompt) => this.#askAt(this.#open?.leaf ?? null, prompt),
      stop: () => this.#lines.get(this.#key)?.stop(),
      fresh: () => this.#fresh(),
      rename: (id, title) => this.#keeper.rename(id, title),
      remove: (id) => this.#keeper.remove(id),
      save: (id, as) => this.#keeper.save(id, as),
      again: (turn) => this.#askAt(turn.parent, turn.prompt),
      edit: (turn, prompt) => this.#askAt(turn.parent, prompt),
      show: (id) => this.#open !== undefined && this.#put(show(this.#open, id)),
      copy: (text) => void this.#copy(text, this.#words.copied),
      share: ({ responseId }) => this.#share(responseId),
      prefer: (change) => this.#prefer(change),
      tune: (change) => this.#prefer({ parameters: tuned(this.#preferences, change) }),
      list: (isOpen) => this.#list(isOpen),
      dismiss: () => this.#notices.dismiss(),
      useKey: (key) => this.#useKey(key),
      needColours: () => void this.#colours.need(),
    };
  }

  #pressed(event: KeyboardEvent): void {
    if (event.key !== "Escape" || isComposed(event)) return;
    if (document.querySelector("dialog[open], :popover-open") !== null) return;
    if (this.#isListOpen) this.#list(false);
    else if (this.#route.kind !== "watch") this.#lines.get(this.#key)?.stop();
  }

  #askAt(parent: string | null, prompt: string): void {
    const from = this.#open ?? begun(newKey().slice(0, 16), Date.now());
    if (this.#lines.isBusy(from.id)) return;
    const model = chosenModel(this.#preferences, this.#models.names) ?? this.#models.names[0];
    const id = newKey();
    const question = { id, parent, prompt, ...(model === undefined ? {} : { model }) };
    const conversation = ask(from, question, Date.now());
    this.#put(conversation);
    if (this.#open === undefined) this.#visit({ kind: "conversation", id: from.id });
    const turn = conversation.turns.find((each) => each.id === id);
    if (turn !== undefined) this.#lines.ask(conversation, turn, asked(this.#preferences, this.#models.names));
    this.#painter.request();
  }

  #fresh(): void {
    this.#visit({ kind: "new" });
    document.getElementById("prompt")?.focus();
  }

  async #copy(text: string, done: string): Promise<void> {
    this.#notices.say({ text: (await copy(text)) ? done : this.#words.notCopied });
  }

  #share(responseId: string | undefined): void {
    if (responseId === undefined) return;
    const link = new URL(hashOf({ kind: "watch", responseId }), location.href);
    void this.#copy(link.href, this.#words.shared);
  }

  #prefer(change: Partial<Preferences>): void {
    this.#preferences = { ...this.#preferences, ...change };
    save(this.#store, this.#preferences);
    this.#painter.request();
  }

  /** Come back with a key: learn the models, and try what was refused again. */
  #useKey(key: string): void {
    this.#access.use(key);
    void this.#models.meet();
  }

  #list(isOpen: boolean): void {
    this.#isListOpen = isOpen;
    this.#painter.request();
  }
}
