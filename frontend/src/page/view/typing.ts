/** Enter sends, Shift Enter starts a line, and neither while a character is being composed. */

/** What browsers say instead of a key that their input method took: Safari only says so of the one that ends it. */
const TAKEN = 229;

/** Says whether a key belongs to the input method: Enter takes a word over there, and Escape drops it. */
export function isComposed(event: KeyboardEvent): boolean {
  return event.isComposing || event.keyCode === TAKEN;
}

export function onEnter(event: KeyboardEvent, send: () => void): void {
  if (event.key !== "Enter" || event.shiftKey || isComposed(event)) return;
  event.preventDefault();
  send();
}
