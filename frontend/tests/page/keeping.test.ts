import { beforeEach, describe, expect, test } from "vitest";
import { begun, type Conversation } from "../../src/page/conversation.ts";
import { Keeper } from "../../src/page/keeping.ts";
import type { Route } from "../../src/page/route.ts";
import type { Notice } from "../../src/page/view/scene.ts";
import { en } from "../../src/page/words/en.ts";

const TALK: Conversation = { ...begun("a", 1), title: "Rainbows" };

let held: Map<string, Conversation>;
let attended: string[];
let visits: Route[];
let notice: Notice | undefined;

function keeper(open?: string): Keeper {
  const put = (conversation: Conversation) => void held.set(conversation.id, conversation);
  return new Keeper({
    shelf: { get: (id) => held.get(id), remove: (id) => void held.delete(id) },
    lines: { get: () => undefined, attend: ({ id }) => void attended.push(id) },
    notices: {
      say: (said) => {
        notice = said;
      },
      dismiss: () => {
        notice = undefined;
      },
    },
    words: () => en,
    isOpen: (id) => id === open,
    put,
    visit: (route) => void visits.push(route),
  });
}

beforeEach(() => {
  held = new Map([["a", TALK]]);
  attended = [];
  visits = [];
  notice = undefined;
});

describe("renaming", () => {
  test("takes the name without the space around it, and keeps it from the next question's", () => {
    keeper().rename("a", "  Bows ");
    expect(held.get("a")).toEqual({ ...TALK, title: "Bows", named: true });
  });

  test.each(["", "  ", "Rainbows"])("to %o changes nothing", (title) => {
    keeper().rename("a", title);
    expect(held.get("a")).toBe(TALK);
  });
});

describe("removing", () => {
  test("the one that is open leads to a new one, and taking it back leads back", () => {
    keeper("a").remove("a");
    expect([held.size, visits, notice?.text]).toEqual([0, [{ kind: "new" }], en.removed("Rainbows")]);
    notice?.undo?.();
    expect([held.get("a"), visits.at(-1), notice]).toEqual([
      TALK,
      { kind: "conversation", id: "a" },
      undefined,
    ]);
    expect(attended).toEqual(["a"]);
  });

  test("another one leaves what is open where it is", () => {
    keeper("b").remove("a");
    notice?.undo?.();
    expect([held.get("a"), visits]).toEqual([TALK, []]);
  });

  test("what is not there any more says nothing", () => {
    keeper().remove("gone");
    expect(notice).toBeUndefined();
  });
});
