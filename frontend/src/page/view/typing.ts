/** Enter sends, Shift Enter starts a line, and neither while a character is being composed. */

export function onEnter(event: KeyboardEvent, send: () => void): void {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  send();
}
