/** What a close code means for a client, and how long it waits before it comes back. */

/** Come back after a backoff that starts at `base` milliseconds, or give up with a sentence. */
export type Verdict =
  | { readonly retry: true; readonly base: number }
  | { readonly retry: false; readonly sentence: string };

const BASE = 250;
const OVERLOADED_BASE = 2_000;
const CEILING = 8_000;

/**
 * Codes after which the log is asked for the rest.  1000 is among them: it reaches us only when an answer
 * is in flight, and asking again is harmless, while believing it would cut the answer silently.
 */
const RETRIED: Readonly<Record<number, number>> = {
  1000: BASE,
  1001: BASE, // going away: hard shutdown
  1005: BASE, // no code
  1006: BASE, // the link broke, or the handshake was refused: a page is not told which
  1011: BASE, // internal error
  1012: BASE, // the gateway restarts and sends its sockets elsewhere
  1013: OVERLOADED_BASE, // overloaded, or we read too slowly
  1015: BASE, // TLS handshake failed
};

const FINAL: Readonly<Record<number, string>> = {
  1002: "The server found a protocol error in what this page sent.",
  1003: "The server does not take this kind of message.",
  1007: "The server could not read what this page sent.",
  1008: "The server ended the session: it is no longer authorised.",
  1009: "The message is too large for the server.",
};

/** Judge the close code of a socket that was lost with an answer in flight. */
export function judge(code: number): Verdict {
  const base = RETRIED[code];
  if (base !== undefined) return { retry: true, base };
  return {
    retry: false,
    sentence: FINAL[code] ?? `The server closed the connection for good (code ${code}).`,
  };
}

/**
 * Return the milliseconds to wait before attempt number `attempt` (0 is the first).
 *
 * Exponential backoff with equal jitter (Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog,
 * 2015), so that the sockets of one lost gateway do not come back as one herd.  `random` lies in [0, 1).
 */
export function backoff(attempt: number, random: number, base: number = BASE): number {
  const whole = Math.min(CEILING, base * 2 ** attempt);
  return whole / 2 + (random * whole) / 2;
}
