/** What the address says is shown: a conversation, somebody's answer to watch, or a blank page. */

export type Route =
  | { readonly kind: "new" }
  | { readonly kind: "conversation"; readonly id: string }
  /** Read-only: an answer of another page, by its id. */
  | { readonly kind: "watch"; readonly responseId: string };

export function routeOf(hash: string): Route {
  const [, kind, id] = /^#\/([cr])\/([A-Za-z0-9_-]{1,128})$/.exec(hash) ?? [];
  if (kind === "c" && id !== undefined) return { kind: "conversation", id };
  if (kind === "r" && id !== undefined) return { kind: "watch", responseId: id };
  return { kind: "new" };
}

export function hashOf(route: Route): string {
  switch (route.kind) {
    case "new":
      return "#/";
    case "conversation":
      return `#/c/${route.id}`;
    case "watch":
      return `#/r/${route.responseId}`;
  }
}
