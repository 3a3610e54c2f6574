/** Puts text on the clipboard and files on the disk. */

import type { File } from "./exporting.ts";

/** Copy; say whether the browser did. */
export async function copy(text: string): Promise<boolean> {
  // Pages on plain HTTP, other than on this machine, have no clipboard but the old command.
  if (navigator.clipboard === undefined) return copyByCommand(text);
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch (error) {
    if (error instanceof DOMException) return copyByCommand(text);
    throw error;
  }
}

function copyByCommand(text: string): boolean {
  const before = document.activeElement;
  const box = document.createElement("textarea");
  box.value = text;
  box.className = "unseen";
  document.body.append(box);
  box.select();
  const done = document.execCommand("copy");
  box.remove();
  if (before instanceof HTMLElement) before.focus();
  return done;
}

/** Hand a file to the browser's downloads. */
export function download({ name, type, content }: File): void {
  const address = URL.createObjectURL(new Blob([content], { type }));
  const link = document.createElement("a");
  link.href = address;
  link.download = name;
  link.click();
  URL.revokeObjectURL(address);
}
