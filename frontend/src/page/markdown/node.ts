/** A piece of a document as a value: what may stand in an answer, and nothing else. */

/** Every element that an answer may hold.  There is no other way into the page. */
export type Tag =
  | "p"
  | "h3"
  | "h4"
  | "h5"
  | "h6"
  | "blockquote"
  | "ul"
  | "ol"
  | "li"
  | "hr"
  | "br"
  | "strong"
  | "em"
  | "s"
  | "code"
  | "a"
  | "span"
  | "div"
  | "pre"
  | "button"
  | "table"
  | "thead"
  | "tbody"
  | "tr"
  | "th"
  | "td";

export interface Element {
  readonly tag: Tag;
  /** From a fixed list of names; `href` only after it was checked. */
  readonly attributes?: Readonly<Record<string, string>>;
  readonly children: readonly Node[];
}

/** Code as it was fenced: drawn with its language, a button to copy it, and colours. */
export interface Code {
  readonly tag: "fence";
  readonly language: string;
  readonly text: string;
  /** The closing fence has come. */
  readonly isClosed: boolean;
}

export type Node = string | Element | Code;

export function element(tag: Tag, children: readonly Node[], attributes?: Record<string, string>): Element {
  return attributes === undefined ? { tag, children } : { tag, attributes, children };
}

/** Return all text in `nodes`. */
export function textIn(nodes: readonly Node[]): string {
  return nodes
    .map((node) => {
      if (typeof node === "string") return node;
      return node.tag === "fence" ? node.text : textIn(node.children);
    })
    .join("");
}
