/** Tokenwire's stream client: a pure state machine, and a thin shell that binds it to a WebSocket. */

export type { Answer, Ask, Outcome, Phase } from "./answer.ts";
export { backoff, judge, type Verdict } from "./closing.ts";
export * from "./events.ts";
export { reduce } from "./machine.ts";
export {
  newKey,
  responsesUrl,
  StreamClient,
  type StreamClientOptions,
  type Surroundings,
  Unauthorised,
} from "./socket.ts";
export {
  type Effect,
  type Event,
  INITIAL,
  inFlight,
  type Link,
  type Moment,
  type State,
  type Step,
  wakeAt,
} from "./state.ts";
