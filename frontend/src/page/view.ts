/** The DOM: text nodes only, so that nothing a model writes can become markup. */

import type { Conversation, Turn } from "./conversation.ts";
import { facts, note, type StateLine } from "./telling.ts";

/** Distance from the end, in pixels, within which the view follows the text. */
const NEAR_END = 48;

/** Look an element up that the page's own HTML holds. */
function element<T extends HTMLElement>(id: string, type: new () => T): T {
  const found = document.getElementById(id);
  if (!(found instanceof type)) throw new Error(`The page has no ${type.name} #${id}.`);
  return found;
}

function create(tag: string, className: string, text = ""): HTMLElement {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

/** One turn on the page. */
class TurnView {
  readonly root = create("li", "turn");
  readonly #answer = create("div", "answer");
  readonly #text = document.createTextNode("");
  readonly #note = create("p", "note");
  readonly #facts = create("span", "facts");
  readonly #id = create("code", "id");
  #shown: Turn | undefined;

  constructor(turn: Turn) {
    const small = create("p", "small");
    small.append(this.#facts, this.#id);
    this.#answer.append(this.#text);
    this.root.append(create("p", "prompt", turn.prompt), this.#answer, this.#note, small);
  }

  show(turn: Turn): void {
    if (turn === this.#shown) return;
    this.#shown = turn;
    this.#type(turn.text);
    this.#answer.toggleAttribute("data-live", turn.outcome === undefined);
    this.#note.textContent = note(turn.outcome);
    this.#note.toggleAttribute("data-bad", turn.outcome?.status === "failed");
    this.#facts.textContent = facts(turn).join(" · ");
    this.#id.textContent = turn.responseId ?? "";
  }

  /** Append what is new, so that a selection in the old text stays. */
  #type(text: string): void {
    const { data } = this.#text;
    if (text.startsWith(data)) {
      if (text.length > data.length) this.#text.appendData(text.slice(data.length));
    } else this.#text.data = text;
  }
}

export interface Actions {
  send(prompt: string): void;
  stop(): void;
  fresh(): void;
}

export class View {
  readonly #scroller = element("scroller", HTMLElement);
  readonly #turns = element("turns", HTMLOListElement);
  readonly #welcome = element("welcome", HTMLElement);
  readonly #state = element("state", HTMLElement);
  readonly #model = element("model", HTMLElement);
  readonly #form = element("composer", HTMLFormElement);
  readonly #prompt = element("prompt", HTMLTextAreaElement);
  readonly #send = element("send", HTMLButtonElement);
  readonly #stop = element("stop", HTMLButtonElement);
  readonly #fresh = element("fresh", HTMLButtonElement);
  #views: TurnView[] = [];
  #following = true;

  constructor(actions: Actions) {
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      actions.send(this.#prompt.value);
    });
    this.#prompt.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      actions.send(this.#prompt.value);
    });
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape") actions.stop();
    });
    this.#stop.addEventListener("click", () => actions.stop());
    this.#fresh.addEventListener("click", () => actions.fresh());
    this.#scroller.addEventListener("scroll", () => this.#look(), { passive: true });
  }

  /** Empty the box, and follow the answer to what stood in it. */
  accept(): void {
    this.#prompt.value = "";
    this.#following = true;
  }

  focus(): void {
    this.#prompt.focus();
  }

  showModel(name: string): void {
    this.#model.textContent = name;
  }

  /** Paint everything that changed.  Call at most once per frame. */
  paint(conversation: Conversation, line: StateLine, isBusy: boolean): void {
    this.#welcome.hidden = conversation.length > 0;
    this.#fresh.hidden = conversation.length === 0;
    this.#paintTurns(conversation);
    this.#paintState(line);
    this.#paintButtons(isBusy);
    if (this.#following) this.#scroller.scrollTop = this.#scroller.scrollHeight;
  }

  #paintTurns(conversation: Conversation): void {
    while (this.#views.length > conversation.length) this.#views.pop()?.root.remove();
    for (const [at, turn] of conversation.entries()) {
      const view = this.#views[at] ?? this.#add(turn);
      view.show(turn);
    }
  }

  #add(turn: Turn): TurnView {
    const view = new TurnView(turn);
    this.#views.push(view);
    this.#turns.append(view.root);
    return view;
  }

  /** Touch the state line only if it says something else: each change is read out. */
  #paintState({ tone, text }: StateLine): void {
    this.#state.dataset.tone = tone;
    if (this.#state.textContent !== text) this.#state.textContent = text;
  }

  #paintButtons(isBusy: boolean): void {
    if (this.#stop.hidden === !isBusy) return;
    const hadFocus = this.#form.contains(document.activeElement);
    this.#send.hidden = isBusy;
    this.#stop.hidden = !isBusy;
    // A hidden button drops the focus; on touch screens the text box would open the keyboard.
    if (hadFocus && document.activeElement !== this.#prompt && matchMedia("(hover: hover)").matches)
      this.focus();
  }

  #look(): void {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroller;
    this.#following = scrollHeight - scrollTop - clientHeight < NEAR_END;
  }
}
