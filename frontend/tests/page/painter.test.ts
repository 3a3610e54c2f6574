import fc from "fast-check";
import { expect, test } from "vitest";
import { Painter } from "../../src/page/painter.ts";

/** A painter with frames that the test turns by hand. */
function byHand() {
  const frames: (() => void)[] = [];
  const counts = { paints: 0 };
  const painter = new Painter(
    () => {
      counts.paints += 1;
    },
    (paint) => {
      frames.push(paint);
    },
  );
  const turn = () => {
    for (const paint of frames.splice(0)) paint();
  };
  return { painter, counts, turn };
}

test("a thousand requests in one frame are one paint", () => {
  const { painter, counts, turn } = byHand();
  for (let delta = 0; delta < 1000; delta += 1) painter.request();
  expect(counts.paints).toBe(0);
  turn();
  expect(counts.paints).toBe(1);
});

test("a frame in which nothing was asked for paints nothing", () => {
  const { painter, counts, turn } = byHand();
  painter.request();
  turn();
  turn();
  expect(counts.paints).toBe(1);
});

test("what is asked for while painting comes with the next frame", () => {
  const frames: (() => void)[] = [];
  let paints = 0;
  const painter: Painter = new Painter(
    () => {
      paints += 1;
      if (paints === 1) painter.request();
    },
    (paint) => {
      frames.push(paint);
    },
  );
  painter.request();
  frames.shift()?.();
  expect([paints, frames.length]).toEqual([1, 1]);
});

test("there are as many paints as frames in which something was asked for", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(20)), (requests) => {
      const { painter, counts, turn } = byHand();
      for (const count of requests) {
        for (let at = 0; at < count; at += 1) painter.request();
        turn();
      }
      expect(counts.paints).toBe(requests.filter((count) => count > 0).length);
    }),
  );
});
