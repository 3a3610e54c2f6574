import type { Theme } from "../preferences.ts";

/** Say on the root what page this is.  A language set again, even the same, makes the browser style all anew. */
export function label(title: string, language: string, theme: Theme): void {
  const root = document.documentElement;
  if (document.title !== title) document.title = title;
  if (root.lang !== language) root.lang = language;
  if (root.dataset.theme !== theme) root.dataset.theme = theme;
}
