/**
 * The wire: what a server sends about a response, what a client may send, and how a frame is read.
 *
 * The events are those of the OpenAI Responses API over WebSocket.  `epoch` and `first_sequence_number`
 * are ours; `place` too.  A reader must bear fields and event types that it does not know.
 */

export type Role = "system" | "user" | "assistant";

/** One message of the conversation, as `input` carries it. */
export interface Message {
  readonly role: Role;
  readonly content: string;
}

/** What may be asked.  Everything but `input` has a default on the server. */
export interface Request {
  readonly input: string | readonly Message[];
  readonly model?: string;
  readonly instructions?: string;
  readonly max_output_tokens?: number;
  readonly temperature?: number;
  readonly top_p?: number;
  readonly seed?: number;
  readonly stop?: readonly string[];
  readonly metadata?: Readonly<Record<string, string>>;
  readonly include?: readonly string[];
  readonly top_logprobs?: number;
  readonly text?: { readonly format: { readonly type: "text" | "json_object" } };
}

export interface CreateMessage extends Request {
  readonly type: "response.create";
  readonly event_id: string;
  /** Makes the create repeatable: the same key attaches to the same response. */
  readonly idempotency_key: string;
}

export interface CancelMessage {
  readonly type: "response.cancel";
  readonly event_id: string;
  readonly response_id: string;
}

export interface ResumeMessage {
  readonly type: "response.resume";
  readonly event_id: string;
  readonly response_id: string;
  /** Number of the last event seen, -1 for none. */
  readonly starting_after: number;
  /** Epoch of that event, so that a log which lost its tail is noticed. */
  readonly epoch?: number;
}

export type ClientMessage = CreateMessage | CancelMessage | ResumeMessage;

export interface Usage {
  readonly input_tokens: number;
  readonly output_tokens: number;
  readonly total_tokens: number;
  /** `cached_tokens` are those of the input that did not have to be computed. */
  readonly input_tokens_details?: { readonly cached_tokens: number };
}

export interface OutputText {
  readonly type: "output_text";
  readonly text: string;
}

export interface OutputItem {
  readonly id: string;
  readonly type: string;
  readonly status?: string;
  readonly content?: readonly OutputText[];
}

export type ResponseStatus = "queued" | "in_progress" | "completed" | "incomplete" | "cancelled" | "failed";

export interface ResponseObject {
  readonly id: string;
  readonly status: ResponseStatus;
  readonly model?: string;
  readonly output?: readonly OutputItem[] | null;
  readonly usage?: Usage | null;
  readonly error?: { readonly code: string; readonly message: string } | null;
  readonly incomplete_details?: { readonly reason: string } | null;
  /** Requests that wait before it, while it is queued. */
  readonly place?: number | null;
}

/** What every event of a response carries: its number, contiguous from 0, and the epoch of its writer. */
export interface Numbered {
  readonly sequence_number: number;
  /** A merged event covers the numbers from this one to `sequence_number`. */
  readonly first_sequence_number?: number;
  readonly epoch?: number;
}

export interface StatusEvent extends Numbered {
  readonly type: "response.created" | "response.queued" | "response.in_progress";
  readonly response: ResponseObject;
}

export interface ItemEvent extends Numbered {
  readonly type: "response.output_item.added" | "response.output_item.done";
  readonly output_index: number;
  readonly item: OutputItem;
}

export interface PartEvent extends Numbered {
  readonly type: "response.content_part.added" | "response.content_part.done";
  readonly item_id: string;
  readonly output_index: number;
  readonly content_index: number;
  readonly part: OutputText;
}

/** One token of a delta and how likely it was; sent if the request's `include` asks for it. */
export interface Logprob {
  readonly token: string;
  readonly logprob: number;
}

export interface DeltaEvent extends Numbered {
  readonly type: "response.output_text.delta";
  readonly item_id: string;
  readonly output_index: number;
  readonly content_index: number;
  readonly delta: string;
  readonly logprobs?: readonly Logprob[];
}

export interface TextDoneEvent extends Numbered {
  readonly type: "response.output_text.done";
  readonly item_id: string;
  readonly output_index: number;
  readonly content_index: number;
  readonly text: string;
}

/** The one last event of a response.  A cancelled one is `response.incomplete` with status `cancelled`. */
export interface TerminalEvent extends Numbered {
  readonly type: "response.completed" | "response.incomplete" | "response.failed";
  readonly response: ResponseObject;
}

/** A numbered event of a type that this client does not know: it counts, nothing else. */
export interface OtherEvent extends Numbered {
  readonly type: "other";
  readonly name: string;
}

export type ResponseEvent =
  | StatusEvent
  | ItemEvent
  | PartEvent
  | DeltaEvent
  | TextDoneEvent
  | TerminalEvent
  | OtherEvent;

/** An answer to something the client sent; never numbered, never the end of a log. */
export interface ErrorEvent {
  readonly type: "error";
  readonly status?: number;
  readonly error: {
    readonly code?: string | null;
    readonly message: string;
    /** Seconds after which asking again makes sense. */
    readonly retry_after?: number;
  };
  /** The message that it answers, if that had an `event_id`. */
  readonly event_id?: string;
}

/** An event without a number and of an unknown type: not for us. */
export interface UnknownEvent {
  readonly type: "unknown";
  readonly name: string;
}

/** A frame that breaks the protocol. */
export interface MalformedFrame {
  readonly type: "malformed";
}

export type ServerEvent = ResponseEvent | ErrorEvent | UnknownEvent | MalformedFrame;

type Fields = Record<string, unknown>;

const MALFORMED: MalformedFrame = { type: "malformed" };

/** What a known numbered event must carry before it is believed. */
const CHECKS: Readonly<Record<ResponseEvent["type"], (fields: Fields) => boolean>> = {
  "response.created": hasResponse,
  "response.queued": hasResponse,
  "response.in_progress": hasResponse,
  "response.completed": hasResponse,
  "response.incomplete": hasResponse,
  "response.failed": hasResponse,
  "response.output_item.added": (fields) => isFields(fields.item),
  "response.output_item.done": (fields) => isFields(fields.item),
  "response.content_part.added": (fields) => isFields(fields.part),
  "response.content_part.done": (fields) => isFields(fields.part),
  "response.output_text.delta": (fields) => typeof fields.delta === "string",
  "response.output_text.done": (fields) => typeof fields.text === "string",
  other: () => true,
};

/** Read one frame.  Only what the client relies on is checked. */
export function decode(frame: unknown): ServerEvent {
  const fields = parse(frame);
  if (fields === undefined || typeof fields.type !== "string") return MALFORMED;
  const name = fields.type;
  if (name === "error") return hasError(fields) ? (fields as unknown as ErrorEvent) : MALFORMED;
  if (isKnown(name)) return isNumbered(fields) && CHECKS[name](fields) ? believed(fields) : MALFORMED;
  if (!isNumbered(fields)) return { type: "unknown", name };
  return { ...numbers(fields), type: "other", name };
}

function parse(frame: unknown): Fields | undefined {
  if (typeof frame !== "string") return undefined;
  try {
    const value: unknown = JSON.parse(frame);
    return isFields(value) ? value : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function isKnown(name: string): name is Exclude<ResponseEvent["type"], "other"> {
  return name !== "other" && Object.hasOwn(CHECKS, name);
}

/** Call only once `CHECKS` and `isNumbered` have passed. */
function believed(fields: Fields): ResponseEvent {
  return fields as unknown as ResponseEvent;
}

function numbers(fields: Fields & Numbered): Numbered {
  const { sequence_number, first_sequence_number, epoch } = fields;
  return {
    sequence_number,
    ...(first_sequence_number === undefined ? {} : { first_sequence_number }),
    ...(epoch === undefined ? {} : { epoch }),
  };
}

function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isNumbered(fields: Fields): fields is Fields & Numbered {
  const last = fields.sequence_number;
  const first = fields.first_sequence_number ?? last;
  const epoch = fields.epoch ?? 0;
  return isCount(last) && isCount(first) && first <= last && typeof epoch === "number";
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function hasResponse(fields: Fields): boolean {
  const response = fields.response;
  return isFields(response) && typeof response.id === "string" && typeof response.status === "string";
}

function hasError(fields: Fields): boolean {
  const error = fields.error;
  return isFields(error) && typeof error.message === "string";
}
