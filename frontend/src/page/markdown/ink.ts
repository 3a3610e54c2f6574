/**
 * Writes an answer into the page.
 *
 * Closed blocks are put there once and stay; the open one is changed where it differs, and text that grows is
 * appended to, so that a selection in it stays.  Nothing here makes markup of a string.
 */

import { type Growing, grow, NOTHING } from "./growing.ts";
import { type Code, type Element as Drawn, element, type Node as Wanted } from "./node.ts";

export type Highlight = (language: string, code: string) => readonly Wanted[] | undefined;

/** Code longer than this is coloured once, when its block has closed. */
const LONG = 20_000;

export class Ink {
  readonly #root: Element;
  readonly #copy: string;
  readonly #highlight: () => Highlight | undefined;
  #growing: Growing = NOTHING;
  #closed = 0;
  #coloured = { key: "", nodes: [] as readonly Wanted[] };

  /** `copy` is what the button says; `highlight` returns undefined until colours are there. */
  constructor(root: Element, copy: string, highlight: () => Highlight | undefined) {
    this.#root = root;
    this.#copy = copy;
    this.#highlight = highlight;
  }

  /** Show `text`; `isWhole` if no more will come. */
  write(text: string, isWhole: boolean): void {
    if (!text.startsWith(this.#growing.text)) this.#clear();
    const { growing, closed, open, kept } = grow(this.#growing, text);
    const nodes = [...closed, ...open].map((node, at) => this.#drawn(node, isWhole || at < closed.length));
    patch(this.#root, nodes, this.#closed, kept);
    this.#growing = growing;
    this.#closed += closed.length;
  }

  #clear(): void {
    this.#root.replaceChildren();
    this.#growing = NOTHING;
    this.#closed = 0;
  }

  /** Replace what only the page can draw, the code blocks, by elements. */
  #drawn(node: Wanted, isClosed: boolean): Wanted {
    if (typeof node === "string") return node;
    if (node.tag === "p") return node;
    if (node.tag === "fence") return this.#code(node, isClosed || node.isClosed);
    return { ...node, children: node.children.map((child) => this.#drawn(child, isClosed)) };
  }

  #code(code: Code, isClosed: boolean): Drawn {
    const language = element("span", [code.language], { class: "language" });
    const button = element("button", [this.#copy], { class: "copy", type: "button" });
    const text = element("code", this.#colours(code, isClosed));
    return element(
      "div",
      [element("div", [language, button], { class: "code-bar" }), element("pre", [text], { tabindex: "0" })],
      { class: "code" },
    );
  }

  /** Colour complete lines; the one being written is plain, so that colours are made once a line. */
  #colours({ language, text }: Code, isClosed: boolean): readonly Wanted[] {
    const end = isClosed ? text.length : text.length > LONG ? 0 : text.lastIndexOf("\n", text.length - 2) + 1;
    const highlight = this.#highlight();
    if (highlight === undefined || language === "" || end === 0) return [text];
    const lines = text.slice(0, end);
    const key = `${language}\n${lines}`;
    if (this.#coloured.key !== key) this.#coloured = { key, nodes: highlight(language, lines) ?? [lines] };
    const rest = text.slice(end);
    return rest === "" ? this.#coloured.nodes : [...this.#coloured.nodes, rest];
  }
}

/**
 * Make the children of `parent` from number `from` on what `nodes` say, changing only what differs.
 *
 * Of the children of each, `kept` are known not to differ and are not looked at.
 */
export function patch(parent: Element, nodes: readonly Wanted[], from = 0, kept = 0): void {
  for (const [at, node] of nodes.entries()) place(parent, parent.childNodes[from + at], node, kept);
  while (parent.childNodes.length > from + nodes.length) parent.lastChild?.remove();
}

function place(parent: Element, old: ChildNode | undefined, node: Wanted, kept: number): void {
  if (typeof node === "string") {
    if (old instanceof Text) type(old, node);
    else put(parent, old, document.createTextNode(node));
  } else if (node.tag !== "fence") {
    const element =
      old instanceof Element && old.localName === node.tag ? old : document.createElement(node.tag);
    if (element !== old) put(parent, old, element);
    mark(element, node.attributes ?? {});
    patch(element, kept === 0 ? node.children : node.children.slice(kept), kept);
  }
}

function put(parent: Element, old: ChildNode | undefined, fresh: Node): void {
  if (old === undefined) parent.append(fresh);
  else old.replaceWith(fresh);
}

/** Append what is new, so that a selection in the old text stays. */
export function type(node: Text, text: string): void {
  const { data } = node;
  if (data === text) return;
  if (text.startsWith(data)) node.appendData(text.slice(data.length));
  else node.data = text;
}

function mark(element: Element, attributes: Readonly<Record<string, string>>): void {
  for (const [name, value] of Object.entries(attributes))
    if (element.getAttribute(name) !== value) element.setAttribute(name, value);
  for (const { name } of [...element.attributes]) if (!(name in attributes)) element.removeAttribute(name);
}
