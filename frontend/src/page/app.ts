/** Builds the page: one stream client, one conversation, one painter, one view. */

import { type Answer, inFlight, newKey, responsesUrl, type State, StreamClient } from "../client/index.ts";
import {
  asked,
  type Conversation,
  decode,
  encode,
  follow,
  inputOf,
  SAMPLING,
  type Turn,
} from "./conversation.ts";
import { keep, kept } from "./keeping.ts";
import { Painter } from "./painter.ts";
import { stateLine } from "./telling.ts";
import { View } from "./view.ts";

export class App {
  readonly #client = new StreamClient({
    url: responsesUrl(location),
    onChange: (state) => this.#changed(state),
  });
  readonly #painter = new Painter(() => this.#paint());
  readonly #view = new View({
    send: (prompt) => this.#send(prompt),
    stop: () => this.#client.stop(),
    fresh: () => this.#fresh(),
  });
  #turns: Conversation = decode(kept());

  /** Show what was said before, and read on where a reload cut an answer off. */
  start(): void {
    addEventListener("online", () => this.#client.online());
    addEventListener("pagehide", () => this.#save());
    const last = this.#turns.at(-1);
    if (last !== undefined && last.outcome === undefined) this.#readOn(last);
    this.#painter.request();
    this.#view.focus();
  }

  showModel(name: string): void {
    this.#view.showModel(name);
  }

  #readOn({ responseId, prompt, key }: Turn): void {
    if (responseId !== undefined) this.#client.restore(responseId);
    else this.#client.ask({ ...SAMPLING, input: inputOf(this.#turns.slice(0, -1), prompt) }, key);
  }

  #send(written: string): void {
    const prompt = written.trim();
    if (prompt === "" || inFlight(this.#client.state)) return;
    const key = newKey();
    const input = inputOf(this.#turns, prompt);
    this.#turns = [...this.#turns, asked(prompt, key)];
    this.#save();
    this.#view.accept();
    this.#client.ask({ ...SAMPLING, input }, key);
  }

  #fresh(): void {
    this.#client.stop();
    this.#turns = [];
    this.#save();
    this.#painter.request();
    this.#view.focus();
  }

  #changed({ answer }: State): void {
    if (answer !== undefined) this.#follow(answer);
    this.#painter.request();
  }

  #follow(answer: Answer): void {
    const last = this.#turns.at(-1);
    // A conversation that was put away may still hear of its last answer.
    if (last === undefined || last.outcome !== undefined) return;
    const next = follow(last, answer);
    this.#turns = [...this.#turns.slice(0, -1), next];
    if (next.responseId !== last.responseId || next.outcome !== undefined) this.#save();
  }

  #save(): void {
    keep(encode(this.#turns));
  }

  #paint(): void {
    const { state } = this.#client;
    const reloaded = this.#turns.at(-1)?.reloaded ?? false;
    this.#view.paint(this.#turns, stateLine(state, reloaded), inFlight(state));
  }
}
