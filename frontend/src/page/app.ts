/** Builds the page: the shelf, the lines to the server, one painter, one scene. */

import { h, options, render } from "preact";
import { newKey, responsesUrl } from "../client/index.ts";
import { Access } from "./access.ts";
import { copy, download } from "./clipboard.ts";
import { ask, begun, branch, type Conversation, renew, show, type Turn } from "./conversation.ts";
import { jsonFile, markdownFile } from "./exporting.ts";
import { Lines } from "./lines.ts";
import type { Highlight } from "./markdown/ink.ts";
import { Painter } from "./painter.ts";
import { PieceReader } from "./pieces.ts";
import { asked, chosenModel, languageOf, load, type Preferences, save, tuned } from "./preferences.ts";
import { Reporter } from "./reporting.ts";
import { hashOf, type Route, routeOf } from "./route.ts";
import { sceneOf, watchKey } from "./scening.ts";
import { modelNames, reportTimes, waitingOf } from "./server.ts";
import { Shelf, storeOf } from "./shelf.ts";
import type { Stream } from "./stream.ts";
import { Page } from "./view/page.tsx";
import type { Actions, Notice } from "./view/scene.ts";
import { isComposed } from "./view/typing.ts";
import { LANGUAGES, type Words } from "./words/index.ts";

/** How often a waiting response's place and models that are not there are asked for, and how long a notice stands. */
const PLACE_MS = 2_000;
const MODELS_MS = 3_000;
const NOTICE_MS = 8_000;

export class App {
  readonly #root: Element;
  readonly #store = storeOf("localStorage");
  readonly #shelf = new Shelf(this.#store);
  readonly #painter = new Painter(() => this.#paint());
  readonly #access = new Access(
    storeOf("sessionStorage"),
    (path, options) => fetch(path, options),
    () => this.#painter.request(),
  );
  readonly #reporter = new Reporter({
    send: (report) => reportTimes(report, (path, options) => this.#access.get(String(path), options)),
    later: (flush, ms) => void setTimeout(flush, ms),
  });
  readonly #lines = new Lines({
    url: responsesUrl(location),
    ticket: () => this.#access.ticket(),
    onChange: (key, stream) => this.#changed(key, stream),
    onSample: (sample) => this.#reporter.add(sample),
  });
  readonly #reader = new PieceReader({
    url: responsesUrl(location),
    ticket: () => this.#access.ticket(),
    onChange: () => this.#painter.request(),
  });
  readonly #actions: Actions = this.#make();
  #preferences: Preferences = load(this.#store);
  #route: Route = routeOf(location.hash);
  #models: readonly string[] = [];
  #notice: Notice | undefined;
  #isListOpen = false;
  #highlight: Highlight | undefined;
  #isLoadingColours = false;
  #noticeTimer: ReturnType<typeof setTimeout> | undefined;
  #placeTimer: ReturnType<typeof setTimeout> | undefined;
  #meetTimer: ReturnType<typeof setTimeout> | undefined;

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
    void this.#meet();
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

  /** Learn the models' names; as long as there are none, try again. */
  async #meet(): Promise<void> {
    this.#models = await modelNames((path) => this.#access.get(path));
    clearTimeout(this.#meetTimer);
    if (this.#models.length === 0 && this.#access.asking === "nothing")
      this.#meetTimer = setTimeout(() => void this.#meet(), MODELS_MS);
    this.#painter.request();
  }

  #attendAll(): void {
    const chosen = asked(this.#preferences, this.#models);
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
    this.#askPlace();
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
      models: this.#models,
      now: Date.now(),
      conversations: this.#shelf.all(),
      conversation: this.#open,
      stream,
      busy: this.#lines.busy(),
      isWatching: this.#route.kind === "watch",
      again: (turn) => this.#reader.of(turn),
      notice: this.#notice,
      isListOpen: this.#isListOpen,
      highlight: this.#highlight,
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
    if (stream.state.answer?.phase === "queued") this.#askPlace();
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
    if (this.#shelf.isFull) this.#say({ text: this.#words.full });
    this.#painter.request();
  }

  #putAway(): void {
    this.#keepAll();
    this.#reporter.flush();
  }

  #keepAll(): void {
    for (const id of this.#lines.busy()) {
      const conversation = this.#shelf.get(id);
      if (conversation !== undefined) this.#shelf.put(conversation);
    }
  }

  #heard(key: string | null, value: string | null): void {
    const id = this.#shelf.heard(key, value);
    const conversation = id === undefined ? undefined : this.#shelf.get(id);
    if (conversation !== undefined) this.#lines.attend(conversation);
    this.#painter.request();
  }

  /** Ask for the place in the queue as long as the answer that is open waits. */
  #askPlace(): void {
    clearTimeout(this.#placeTimer);
    const answer = this.#lines.get(this.#key)?.state.answer;
    if (answer?.phase !== "queued" || answer.id === undefined) return;
    this.#placeTimer = setTimeout(() => this.#askPlace(), PLACE_MS);
    void this.#learnPlace(answer.id);
  }

  async #learnPlace(responseId: string): Promise<void> {
    const waiting = await waitingOf(responseId, (path) => this.#access.get(path));
    const stream = this.#lines.get(this.#key);
    if (stream?.state.answer?.id !== responseId) return;
    stream.waiting = waiting;
    this.#painter.request();
  }

  // ---- what the user does

  #make(): Actions {
    return {
      send: (prompt) => this.#send(prompt),
      stop: () => this.#lines.get(this.#key)?.stop(),
      fresh: () => this.#fresh(),
      rename: (id, title) => this.#rename(id, title),
      remove: (id) => this.#remove(id),
      save: (id, as) => this.#save(id, as),
      again: (turn) => this.#askAt(turn.parent, turn.prompt),
      edit: (turn, prompt) => this.#askAt(turn.parent, prompt),
      show: (id) => this.#open !== undefined && this.#put(show(this.#open, id)),
      copy: (text) => void this.#copy(text, this.#words.copied),
      share: ({ responseId }) => this.#share(responseId),
      prefer: (change) => this.#prefer(change),
      tune: (change) => this.#prefer({ parameters: tuned(this.#preferences, change) }),
      list: (isOpen) => this.#list(isOpen),
      dismiss: () => this.#say(undefined),
      useKey: (key) => this.#useKey(key),
      needColours: () => void this.#loadColours(),
    };
  }

  #pressed(event: KeyboardEvent): void {
    if (event.key !== "Escape" || isComposed(event)) return;
    if (document.querySelector("dialog[open], :popover-open") !== null) return;
    if (this.#isListOpen) this.#list(false);
    else if (this.#route.kind !== "watch") this.#lines.get(this.#key)?.stop();
  }

  #send(prompt: string): void {
    this.#askAt(this.#open?.leaf ?? null, prompt);
  }

  #askAt(parent: string | null, prompt: string): void {
    const from = this.#open ?? begun(newKey().slice(0, 16), Date.now());
    if (this.#lines.isBusy(from.id)) return;
    const model = chosenModel(this.#preferences, this.#models) ?? this.#models[0];
    const id = newKey();
    const question = { id, parent, prompt, ...(model === undefined ? {} : { model }) };
    const conversation = ask(from, question, Date.now());
    this.#put(conversation);
    if (this.#open === undefined) this.#visit({ kind: "conversation", id: from.id });
    const turn = conversation.turns.find((each) => each.id === id);
    if (turn !== undefined) this.#lines.ask(conversation, turn, asked(this.#preferences, this.#models));
    this.#painter.request();
  }

  #fresh(): void {
    this.#visit({ kind: "new" });
    document.getElementById("prompt")?.focus();
  }

  #rename(id: string, title: string): void {
    const conversation = this.#shelf.get(id);
    const name = title.trim();
    if (conversation !== undefined && name !== "" && name !== conversation.title)
      this.#put({ ...conversation, title: name, named: true });
  }

  #remove(id: string): void {
    const conversation = this.#shelf.get(id);
    if (conversation === undefined) return;
    const wasOpen = this.#key === id;
    this.#lines.get(id)?.stop();
    this.#shelf.remove(id);
    if (wasOpen) this.#visit({ kind: "new" });
    const undo = () => {
      this.#put(conversation);
      this.#say(undefined);
      if (wasOpen) this.#visit({ kind: "conversation", id });
      this.#lines.attend(conversation);
    };
    this.#say({ text: this.#words.removed(conversation.title || this.#words.untitled), undo });
  }

  #save(id: string, as: "markdown" | "json"): void {
    const conversation = this.#shelf.get(id);
    if (conversation !== undefined)
      download(as === "json" ? jsonFile(conversation) : markdownFile(conversation));
  }

  async #copy(text: string, done: string): Promise<void> {
    this.#say({ text: (await copy(text)) ? done : this.#words.notCopied });
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
    void this.#meet();
  }

  #list(isOpen: boolean): void {
    this.#isListOpen = isOpen;
    this.#painter.request();
  }

  #say(notice: Notice | undefined): void {
    this.#notice = notice;
    clearTimeout(this.#noticeTimer);
    if (notice !== undefined) this.#noticeTimer = setTimeout(() => this.#say(undefined), NOTICE_MS);
    this.#painter.request();
  }

  async #loadColours(): Promise<void> {
    if (this.#isLoadingColours) return;
    this.#isLoadingColours = true;
    const { highlight } = await import("./markdown/highlight.ts");
    this.#highlight = highlight;
    this.#painter.request();
  }
}

/** Say on the root what page this is.  A language set again, even the same, makes the browser style all anew. */
function label(title: string, language: string, theme: string): void {
  const root = document.documentElement;
  if (document.title !== title) document.title = title;
  if (root.lang !== language) root.lang = language;
  if (root.dataset.theme !== theme) root.dataset.theme = theme;
}
