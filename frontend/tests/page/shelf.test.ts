import { describe, expect, test } from "vitest";
import { ask, begun, type Conversation, renew, type Turn } from "../../src/page/conversation.ts";
import { UNMEASURED } from "../../src/page/measure.ts";
import { conversationIn, parse } from "../../src/page/shape.ts";
import { Shelf, type Store } from "../../src/page/shelf.ts";

/** A browser's store with room for so many characters. */
class Box implements Store {
  readonly entries = new Map<string, string>();
  room = Number.POSITIVE_INFINITY;

  get length(): number {
    return this.entries.size;
  }

  key(at: number): string | null {
    return [...this.entries.keys()][at] ?? null;
  }

  getItem(key: string): string | null {
    return this.entries.get(key) ?? null;
  }

  setItem(key: string, value: string): void {
    if (value.length > this.room) throw new DOMException("full", "QuotaExceededError");
    this.entries.set(key, value);
  }

  removeItem(key: string): void {
    this.entries.delete(key);
  }
}

function talk(id: string, at: number): Conversation {
  const asked = ask(begun(id, at), { id: `${id}-1`, parent: null, prompt: "Hi", model: "m" }, at);
  const turn: Turn = {
    ...(asked.turns[0] as Turn),
    text: "Hello",
    responseId: "resp_1",
    outcome: { status: "completed" },
    timing: { ...UNMEASURED, gaps: [1, 2] },
  };
  return renew(asked, turn);
}

describe("the shelf", () => {
  test("shows what was asked last though the clock was set back meanwhile", () => {
    const shelf = new Shelf(new Box());
    const before = talk("a", 1_000);
    shelf.put(before);
    shelf.put(ask(before, { id: "second", parent: before.leaf, prompt: "And now?" }, 10));
    expect(shelf.get("a")?.leaf).toBe("second");
  });

  test("reads again what others wrote and removed while it heard of nothing", () => {
    const box = new Box();
    const [shelf, other] = [new Shelf(box), new Shelf(box)];
    shelf.put(talk("a", 1));
    shelf.put(talk("b", 2));
    other.heard("tokenwire.conversation.b", box.getItem("tokenwire.conversation.b"));
    other.remove("a");
    other.put({ ...talk("b", 2), title: "named", named: true, changedAt: 5 });
    other.put(talk("c", 3));
    shelf.refresh();
    expect(shelf.all().map(({ id, title }) => [id, title])).toEqual([
      ["b", "named"],
      ["c", "Hi"],
    ]);
  });

  test("keeps what found no room when it reads again", () => {
    const box = new Box();
    const shelf = new Shelf(box);
    shelf.put(talk("a", 1));
    box.room = 10;
    shelf.put(talk("b", 2));
    shelf.refresh();
    expect(shelf.all().map(({ id }) => id)).toEqual(["b", "a"]);
  });

  test("gives back what was put there, newest first, also after a reload", () => {
    const box = new Box();
    const shelf = new Shelf(box);
    for (const [id, at] of [
      ["a", 1],
      ["b", 3],
      ["c", 2],
    ] as const)
      shelf.put(talk(id, at));
    expect(shelf.all().map(({ id }) => id)).toEqual(["b", "c", "a"]);
    expect(new Shelf(box).all()).toEqual(shelf.all());
    shelf.remove("b");
    expect(new Shelf(box).all().map(({ id }) => id)).toEqual(["c", "a"]);
  });

  test("what is only held is not written", () => {
    const box = new Box();
    const shelf = new Shelf(box);
    shelf.hold(talk("a", 1));
    expect(shelf.get("a")).toEqual(talk("a", 1));
    expect(box.entries.size).toBe(0);
  });

  test("goes on in memory when there is no room, and says so", () => {
    const box = new Box();
    const shelf = new Shelf(box);
    box.room = 10;
    shelf.put(talk("a", 1));
    expect(shelf.isFull).toBe(true);
    expect(shelf.get("a")).toEqual(talk("a", 1));
    box.room = 1e6;
    shelf.put(talk("a", 1));
    expect(shelf.isFull).toBe(false);
  });

  test("works without a store", () => {
    const shelf = new Shelf(undefined);
    shelf.put(talk("a", 1));
    expect(shelf.all()).toHaveLength(1);
    expect(shelf.isFull).toBe(true);
  });

  test("hears what another tab wrote and deleted", () => {
    const box = new Box();
    const [ours, theirs] = [new Shelf(box), new Shelf(box)];
    theirs.put(talk("a", 1));
    const [[key, value]] = [...box.entries] as [[string, string]];
    expect(ours.heard(key, value)).toBe("a");
    expect(ours.get("a")).toEqual(talk("a", 1));
    expect(ours.heard(key, null)).toBe("a");
    expect(ours.get("a")).toBeUndefined();
    expect(ours.heard("something.else", "1")).toBeUndefined();
    expect(ours.heard(null, null)).toBeUndefined();
  });

  test("writing keeps the turns that another tab wrote and we have not heard of", () => {
    const box = new Box();
    const [ours, theirs] = [new Shelf(box), new Shelf(box)];
    ours.put(talk("a", 1));
    theirs.put(ask(talk("a", 1), { id: "x", parent: "a-1", prompt: "theirs" }, 2));
    ours.put(ask(talk("a", 1), { id: "y", parent: "a-1", prompt: "ours" }, 3));
    expect(new Shelf(box).get("a")?.turns.map(({ id }) => id)).toEqual(["a-1", "y", "x"]);
  });

  test("what is broken or foreign is not shown, and not deleted", () => {
    const box = new Box();
    box.setItem("tokenwire.conversation.a", "{");
    box.setItem("tokenwire.conversation.b", JSON.stringify(talk("other", 1)));
    box.setItem("tokenwire.conversation.c", JSON.stringify({ ...talk("c", 1), turns: [{ id: 1 }, null] }));
    expect(new Shelf(box).all()).toEqual([{ ...talk("c", 1), turns: [], leaf: null }]);
    expect(box.length).toBe(3);
  });
});

describe("reading what was written", () => {
  test("a whole conversation is read as it was", () => {
    expect(conversationIn(parse(JSON.stringify(talk("a", 1))))).toEqual(talk("a", 1));
  });

  test.each(["", "null", "[]", '"text"', "{}", '{"id":1}', '{"id":"a","title":"t","createdAt":"x"}'])(
    "%s is none",
    (written) => {
      expect(conversationIn(parse(written))).toBeUndefined();
    },
  );

  test("a leaf that is not there is replaced by an end that is", () => {
    expect(conversationIn({ ...talk("a", 1), leaf: "gone" })?.leaf).toBe("a-1");
  });

  test("a broken outcome is none, so that the answer is looked for", () => {
    const [turn] = talk("a", 1).turns;
    const read = conversationIn({
      ...talk("a", 1),
      turns: [{ ...turn, outcome: { status: "odd" }, timing: 3 }],
    });
    expect(read?.turns[0]).not.toHaveProperty("outcome");
    expect(read?.turns[0]).not.toHaveProperty("timing");
  });
});
