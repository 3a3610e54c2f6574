import { describe, expect, test } from "vitest";
import { decode } from "../../src/client/index.ts";
import { logOf } from "./wire.ts";

const MALFORMED = { type: "malformed" };

describe("decode", () => {
  test("reads every event of a response as it was written", () => {
    for (const event of logOf(["a", "b"])) expect(decode(JSON.stringify(event))).toEqual(event);
  });

  test("reads an error", () => {
    const error = {
      type: "error",
      status: 503,
      error: { type: "server_error", code: "queue_full", message: "Full." },
    };
    expect(decode(JSON.stringify(error))).toEqual(error);
  });

  test("counts a numbered event of a type it does not know", () => {
    const frame = {
      type: "response.reasoning.delta",
      sequence_number: 9,
      first_sequence_number: 8,
      epoch: 3,
      x: 1,
    };
    expect(decode(JSON.stringify(frame))).toEqual({
      type: "other",
      name: "response.reasoning.delta",
      sequence_number: 9,
      first_sequence_number: 8,
      epoch: 3,
    });
  });

  test("a type named like our own word for unknown ones is unknown too", () => {
    expect(decode('{"type":"other","sequence_number":1}')).toEqual({
      type: "other",
      name: "other",
      sequence_number: 1,
    });
    expect(decode('{"type":"toString"}')).toEqual({ type: "unknown", name: "toString" });
  });

  test("an event without a number and of an unknown type is not for us", () => {
    expect(decode('{"type":"session.notice"}')).toEqual({ type: "unknown", name: "session.notice" });
  });

  test.each([
    ["no JSON", "{"],
    ["no object", "[]"],
    ["null", "null"],
    ["no type", "{}"],
    ["a binary frame", new ArrayBuffer(2)],
    ["no number", '{"type":"response.output_text.delta","delta":"a"}'],
    ["a negative number", '{"type":"response.output_text.delta","delta":"a","sequence_number":-1}'],
    [
      "numbers the wrong way round",
      '{"type":"response.output_text.delta","delta":"a","sequence_number":1,"first_sequence_number":2}',
    ],
    ["no delta", '{"type":"response.output_text.delta","sequence_number":1}'],
    ["no response", '{"type":"response.completed","sequence_number":1}'],
    [
      "a response without id",
      '{"type":"response.completed","sequence_number":1,"response":{"status":"completed"}}',
    ],
    ["an error without message", '{"type":"error","error":{"code":"x"}}'],
  ])("%s is malformed", (_, frame) => {
    expect(decode(frame)).toEqual(MALFORMED);
  });
});
