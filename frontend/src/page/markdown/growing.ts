/**
 * Markdown of a text that grows: closed blocks are read once, the open one again with every piece.
 *
 * CommonMark reads line by line and never opens a closed block again (its appendix, "a parsing strategy"), so
 * once all lines of a block and the first of the next one are complete, it stands.  Of a long line of a paragraph only
 * the last part is read again: what stands before it, between words and with nothing left open, is kept as it was read.
 */

import { element, type Node } from "./node.ts";
import { behind, parse, parseInline } from "./parse.ts";

export interface Growing {
  /** The text so far. */
  readonly text: string;
  /** Characters of it that lie in closed blocks. */
  readonly settled: number;
  /** Characters up to the end of the last complete line that was looked at. */
  readonly lines: number;
  /** The beginning of the open block, if that is a paragraph whose last line only grows. */
  readonly begun?: Begun;
}

/** The beginning of a paragraph that need not be read again. */
interface Begun {
  /** Where the rest begins, counted from the block's own beginning. */
  readonly end: number;
  readonly nodes: readonly Node[];
  /** Characters of the rest from which on it is worth to look for a later end. */
  readonly enough: number;
}

export const NOTHING: Growing = { text: "", settled: 0, lines: 0 };

/** What one step adds: blocks that closed, and the open end that replaces the one before. */
export interface Grown {
  readonly growing: Growing;
  readonly closed: readonly Node[];
  readonly open: readonly Node[];
  /** Children of the open block that are what they were in the step before. */
  readonly kept: number;
  /** Characters that were read, some of them for the second time. */
  readonly read: number;
}

/** Characters of a paragraph that are read again and again before a part of them is kept. */
export const PART = 1_024;

/** Take the text as it is now; it begins with the text before.  `part` is `PART`, but for tests. */
export function grow(before: Growing, text: string, part = PART): Grown {
  const lines = text.lastIndexOf("\n") + 1;
  const isSameLine = lines <= before.lines;
  const { closed, used } = isSameLine ? STILL : settle(text.slice(before.settled, lines));
  const settled = before.settled + used;
  const block = text.slice(settled);
  const { open, begun, kept, read } = openEnd(block, isSameLine ? before.begun : undefined, part);
  const growing = { text, settled, lines, ...(begun === undefined ? {} : { begun }) };
  return { growing, closed, open, kept, read: read + (isSameLine ? 0 : lines - before.settled) };
}

const STILL: { closed: readonly Node[]; used: number } = { closed: [], used: 0 };

/** Close all blocks but the last of complete lines. */
function settle(lines: string): { closed: readonly Node[]; used: number } {
  const blocks = parse(lines);
  const last = blocks.at(-1);
  if (last === undefined || blocks.length < 2) return STILL;
  return { closed: blocks.slice(0, -1).map(({ node }) => node), used: offsetOf(lines, last.line) };
}

interface OpenEnd {
  readonly open: readonly Node[];
  readonly begun: Begun | undefined;
  readonly kept: number;
  readonly read: number;
}

function openEnd(block: string, begun: Begun | undefined, part: number): OpenEnd {
  if (begun !== undefined && !block.includes("\r", begun.end)) return rest(block, begun, part);
  const open = parse(block).map(({ node }) => node);
  if (!onlyGrows(block, open)) return { open, begun: undefined, kept: 0, read: block.length };
  const indent = block.length - block.trimStart().length;
  const whole = later(block, { end: indent, nodes: [], enough: part }, part);
  return { open, begun: whole, kept: 0, read: 2 * block.length };
}

/** Read what comes after the beginning. */
function rest(block: string, begun: Begun, part: number): OpenEnd {
  const text = block.slice(begun.end).trimEnd();
  const open = [element("p", behind(begun.nodes, parseInline(text).nodes))];
  const after = later(block, begun, part);
  // The last one may have grown.
  const kept = Math.max(0, begun.nodes.length - 1);
  return { open, begun: after, kept, read: text.length + (after === begun ? 0 : text.length) };
}

/** A line that begins with a word stays one of a paragraph, whatever comes after on it. */
const WORD = /^ {0,3}(?:\*\*?|__?|["'“‘(])?\p{L}/u;

function onlyGrows(block: string, open: readonly Node[]): boolean {
  const [only, ...others] = open;
  const isParagraph = typeof only === "object" && only.tag === "p" && others.length === 0;
  return isParagraph && !block.includes("\r") && WORD.test(block.slice(block.lastIndexOf("\n") + 1));
}

/** Move the end of the beginning on, if there is enough behind it and what is there stands. */
function later(block: string, begun: Begun, part: number): Begun {
  const { end, nodes, enough } = begun;
  if (block.length - end < enough) return begun;
  const [words = ""] = /^[\s\S]*\S[ ](?=\S)/.exec(block.slice(end)) ?? [];
  const { nodes: more, stands } = parseInline(words);
  if (words === "" || !stands) return { ...begun, enough: block.length - end + part };
  return { end: end + words.length, nodes: behind(nodes, more), enough: part };
}

/** Return where a line begins.  Lines end as markdown-it has them end. */
function offsetOf(text: string, line: number): number {
  const ends = /\r\n?|\n/g;
  for (let at = 0; at < line; at += 1) ends.exec(text);
  return ends.lastIndex;
}
