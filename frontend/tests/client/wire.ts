/** Builders: a response's log as wire events, as a gateway renders it. */

import type { DeltaEvent, ResponseEvent, ResponseObject, ResponseStatus } from "../../src/client/index.ts";

export const ID = "resp_000000000000000000000000000000000aa";
const EPOCH = 1_700_000_000_000;

export interface Ending {
  readonly type: "response.completed" | "response.incomplete" | "response.failed";
  readonly status: ResponseStatus;
}

export const COMPLETED: Ending = { type: "response.completed", status: "completed" };
export const CANCELLED: Ending = { type: "response.incomplete", status: "cancelled" };

export function response(status: ResponseStatus, more: Partial<ResponseObject> = {}): ResponseObject {
  return { id: ID, status, ...more };
}

/** All events of a response whose deltas are `pieces`. */
export function logOf(pieces: readonly string[], ending: Ending = COMPLETED): ResponseEvent[] {
  const place = { item_id: "msg_1", output_index: 0, content_index: 0 };
  const text = pieces.join("");
  const part = { type: "output_text", text } as const;
  const item = { id: "msg_1", type: "message", content: [part] };
  const usage = { input_tokens: 7, output_tokens: pieces.length, total_tokens: 7 + pieces.length };
  const events = [
    { type: "response.created", response: response("queued") },
    { type: "response.in_progress", response: response("in_progress") },
    { type: "response.output_item.added", output_index: 0, item: { ...item, content: [] } },
    { type: "response.content_part.added", ...place, part: { ...part, text: "" } },
    ...pieces.map((delta) => ({ type: "response.output_text.delta", ...place, delta })),
    { type: "response.output_text.done", ...place, text },
    { type: "response.content_part.done", ...place, part },
    { type: "response.output_item.done", output_index: 0, item },
    { type: ending.type, response: response(ending.status, { output: [item], usage }) },
  ];
  return events.map(
    (event, sequence_number) => ({ ...event, sequence_number, epoch: EPOCH }) as ResponseEvent,
  );
}

/** One delta in place of several that follow one another. */
export function merged(deltas: readonly DeltaEvent[]): DeltaEvent {
  const [first] = deltas;
  const last = deltas.at(-1);
  if (first === undefined || last === undefined) throw new Error("nothing to merge");
  const delta = deltas.map((event) => event.delta).join("");
  return { ...last, delta, first_sequence_number: first.sequence_number };
}

export function isDelta(event: ResponseEvent | undefined): event is DeltaEvent {
  return event?.type === "response.output_text.delta";
}
