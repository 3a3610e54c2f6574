/**
 * From Markdown to nodes, by markdown-it's tokens.
 *
 * No HTML is made on the way: what a model writes becomes elements of a fixed list, so there is nothing to
 * sanitise.  HTML in it is text.  An image is a link, since loading it would tell a stranger who reads this.
 */

import MarkdownIt, { type Token } from "markdown-it";
import { element, type Node, type Tag, textIn } from "./node.ts";

/** One block on the top level, and the line of the source that it begins with. */
export interface Block {
  readonly line: number;
  readonly node: Node;
}

const READER = new MarkdownIt({ html: false, linkify: true, breaks: true })
  // A definition far below would change what was said far above, and what was said stands.
  .disable(["reference"]);
READER.linkify.set({ fuzzyLink: false, fuzzyEmail: false });

const SCHEMES = new Set(["http:", "https:", "mailto:"]);

/** Heads begin below those of the page. */
const TAGS: Readonly<Record<string, Tag>> = { h1: "h3", h2: "h4", h3: "h5", h4: "h6", h5: "h6", h6: "h6" };

const ALIGNED = /text-align:(center|right)/;

/** Read a text to its blocks. */
export function parse(text: string): Block[] {
  return new Tree(READER.parse(text, {})).blocks();
}

/** What stands within one paragraph. */
export interface Inline {
  readonly nodes: readonly Node[];
  /** Whether it stays as it is, whatever follows after a space. */
  readonly stands: boolean;
}

/** Read what stands within one paragraph, or a part of it that begins and ends between words. */
export function parseInline(text: string): Inline {
  const tokens = READER.parseInline(text, {}).flatMap(({ children }) => children ?? []);
  return { nodes: joined(inline(tokens)), stands: tokens.every(isDone) && areClosed(tokens) };
}

/** Signs that are text as yet and may open something still: code, emphasis, a link without its end. */
const OPENING = /`|(?<![\p{L}\p{N}])_|\*(?![\s*])|~~|\]\(/u;

function isDone({ type, content }: Token): boolean {
  return type !== "text" || !OPENING.test(content);
}

/** A bracket that is open may become the beginning of a link. */
function areClosed(tokens: readonly Token[]): boolean {
  let depth = 0;
  for (const { type, content } of tokens)
    for (const [sign] of type === "text" ? content.matchAll(/[[\]]/g) : [])
      depth = sign === "[" ? depth + 1 : Math.max(0, depth - 1);
  return depth === 0;
}

/** Put what follows in a paragraph behind what stands there; only where they touch may they become one. */
export function behind(before: readonly Node[], after: readonly Node[]): readonly Node[] {
  const end = Math.max(0, before.length - 1);
  return [...before.slice(0, end), ...joined([...before.slice(end), ...after])];
}

/** Folds markdown-it's flat list of tokens. */
class Tree {
  readonly #tokens: readonly Token[];
  #at = 0;

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens;
  }

  blocks(): Block[] {
    const found: Block[] = [];
    while (this.#at < this.#tokens.length) {
      const line = this.#tokens[this.#at]?.map?.[0] ?? 0;
      const [first, ...more] = this.#next();
      if (first !== undefined)
        found.push({ line, node: more.length === 0 ? first : element("div", [first, ...more]) });
    }
    return found;
  }

  nodes(): Node[] {
    const found: Node[] = [];
    while (this.#at < this.#tokens.length) found.push(...this.#next());
    return found;
  }

  /** Return what the next token, with all that it encloses, stands for. */
  #next(): Node[] {
    const token = this.#tokens[this.#at];
    this.#at += 1;
    if (token === undefined) return [];
    if (token.nesting !== 1) return leaf(token);
    const children: Node[] = [];
    while (this.#at < this.#tokens.length && this.#tokens[this.#at]?.nesting !== -1)
      children.push(...this.#next());
    this.#at += 1;
    return enclosed(token, joined(children));
  }
}

function leaf(token: Token): Node[] {
  switch (token.type) {
    case "inline":
      return joined(inline(token.children ?? []));
    case "fence":
    case "code_block":
      return [fence(token)];
    case "code_inline":
      return [element("code", [token.content])];
    case "softbreak":
    case "hardbreak":
      return [element("br", [])];
    case "hr":
      return [element("hr", [])];
    case "image":
      return image(token);
    default:
      return [token.content];
  }
}

function inline(tokens: readonly Token[]): Node[] {
  return new Tree(tokens).nodes();
}

function fence(token: Token): Node {
  const language = token.info.trim().split(/\s+/, 1)[0] ?? "";
  const [first, end] = token.map ?? [0, 0];
  const within = token.content.split("\n").length - (token.content.endsWith("\n") ? 1 : 0);
  const isClosed = token.type === "code_block" || end - first === within + 2;
  return { tag: "fence", language, text: token.content, isClosed };
}

function enclosed(token: Token, children: readonly Node[]): Node[] {
  if (token.hidden) return [...children]; // a paragraph in a tight list
  switch (token.type) {
    case "link_open":
      return link(attribute(token, "href"), children);
    case "table_open":
      return [element("div", [element("table", children)], { class: "wide", tabindex: "0" })];
    case "th_open":
    case "td_open":
      return [element(token.tag as Tag, children, aligned(attribute(token, "style")))];
    case "ordered_list_open":
      return [element("ol", children, numbered(attribute(token, "start")))];
    case "list_item_open":
      return [element("li", checked(children))];
    default:
      return [element(TAGS[token.tag] ?? (token.tag as Tag), children)];
  }
}

/** Make a link that opens elsewhere and tells nothing of this page; what is no web address stays text. */
function link(href: string | null, children: readonly Node[]): Node[] {
  const address = addressIn(href);
  if (address === undefined) return [...children];
  return [element("a", children, { href: address, rel: "noopener noreferrer nofollow", target: "_blank" })];
}

function addressIn(href: string | null): string | undefined {
  if (href === null || !URL.canParse(href)) return undefined;
  return SCHEMES.has(new URL(href).protocol) ? href : undefined;
}

function image(token: Token): Node[] {
  const source = attribute(token, "src");
  const name = textIn(inline(token.children ?? [])) || token.content || source || "";
  return link(source, [element("span", [name], { class: "picture" })]);
}

function aligned(style: string | null): Record<string, string> | undefined {
  const [, side] = ALIGNED.exec(style ?? "") ?? [];
  return side === undefined ? undefined : { class: side };
}

function numbered(start: string | null): Record<string, string> | undefined {
  return start === null ? undefined : { start };
}

function attribute(token: Token, name: string): string | null {
  const value = token.attrGet(name);
  return value === null ? null : String(value);
}

/** Draw the box of a task. */
function checked(children: readonly Node[]): readonly Node[] {
  const [first, ...rest] = children;
  if (typeof first !== "string") return children;
  const [mark] = /^\[[ xX]\] /.exec(first) ?? [];
  if (mark === undefined) return children;
  return [`${mark === "[ ] " ? "☐" : "☑"} ${first.slice(mark.length)}`, ...rest];
}

/** Join strings that touch, so that one text is one node. */
function joined(nodes: readonly Node[]): Node[] {
  const whole: Node[] = [];
  for (const node of nodes) {
    const last = whole.at(-1);
    if (typeof node === "string" && typeof last === "string") whole[whole.length - 1] = last + node;
    else if (node !== "") whole.push(node);
  }
  return whole;
}
