/** Keeps one text for this tab, over reloads, as far as the browser lets it. */

const NAME = "tokenwire.conversation.1";

/** A browser may refuse to keep anything (private windows, a full quota): the page works without. */
function allowed<T>(work: () => T, otherwise: T): T {
  try {
    return work();
  } catch (error) {
    if (error instanceof DOMException) return otherwise;
    throw error;
  }
}

/** Return what was kept, or null if there is nothing. */
export function kept(): string | null {
  return allowed(() => sessionStorage.getItem(NAME), null);
}

/** Keep `text`; say whether the browser did. */
export function keep(text: string): boolean {
  return allowed(() => {
    sessionStorage.setItem(NAME, text);
    return true;
  }, false);
}
