/**
 * Markdown of a text that grows: closed blocks are read once, the open one again with every piece.
 *
 * CommonMark reads line by line and never opens a closed block again (its appendix, "a parsing strategy"), so
 * once all lines of a block and the first of the next one are complete, it stands.
 */

import type { Node } from "./node.ts";
import { parse } from "./parse.ts";

export interface Growing {
  /** The text so far. */
  readonly text: string;
  /** Characters of it that lie in closed blocks. */
  readonly settled: number;
  /** Characters up to the end of the last complete line that was looked at. */
  readonly lines: number;
}

export const NOTHING: Growing = { text: "", settled: 0, lines: 0 };

/** What one step adds: blocks that closed, and the open end that replaces the one before. */
export interface Grown {
  readonly growing: Growing;
  readonly closed: readonly Node[];
  readonly open: readonly Node[];
}

/** Take the text as it is now; it begins with the text before. */
export function grow(before: Growing, text: string): Grown {
  const lines = text.lastIndexOf("\n") + 1;
  const { closed, used } = lines > before.lines ? settle(text.slice(before.settled, lines)) : STILL;
  const settled = before.settled + used;
  const open = parse(text.slice(settled)).map(({ node }) => node);
  return { growing: { text, settled, lines }, closed, open };
}

const STILL: { closed: readonly Node[]; used: number } = { closed: [], used: 0 };

/** Close all blocks but the last of complete lines. */
function settle(lines: string): { closed: readonly Node[]; used: number } {
  const blocks = parse(lines);
  const last = blocks.at(-1);
  if (last === undefined || blocks.length < 2) return STILL;
  return { closed: blocks.slice(0, -1).map(({ node }) => node), used: offsetOf(lines, last.line) };
}

/** Return where a line begins.  Lines end as markdown-it has them end. */
function offsetOf(text: string, line: number): number {
  const ends = /\r\n?|\n/g;
  for (let at = 0; at < line; at += 1) ends.exec(text);
  return ends.lastIndex;
}
