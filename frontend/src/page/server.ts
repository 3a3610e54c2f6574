/** What the page asks a server over HTTP: which models there are, and where a waiting response stands. */

import type { Report } from "./reporting.ts";
import { isFields } from "./shape.ts";
import type { Waiting } from "./telling.ts";

/** Asks a server for what lies at a path. */
export type Get = (path: string) => Promise<Response>;

/** Ask for the models' names; none if nobody is there yet or the list cannot be had. */
export async function modelNames(get: Get): Promise<readonly string[]> {
  return namesIn(await json("/v1/models", get));
}

/** Ask how many wait before a response; undefined if it does not wait, or if nobody says so. */
export async function waitingOf(responseId: string, get: Get): Promise<Waiting | undefined> {
  return waitingIn(await json(`/v1/responses/${responseId}`, get));
}

/** Report measured times; false if this server does not want them.  `keepalive` lets it outlive the page. */
export async function reportTimes(report: Report, post: typeof fetch = fetch): Promise<boolean> {
  try {
    const body = JSON.stringify(report);
    const headers = { "Content-Type": "application/json" };
    const answer = await post("/v1/page/times", { method: "POST", headers, body, keepalive: true });
    return answer.ok || answer.status === 429 || answer.status >= 500;
  } catch (error) {
    // Without a connection a report is lost, and that is all.
    if (error instanceof TypeError) return true;
    throw error;
  }
}

/** Both are ornaments: what fails for good is told where the answer is waited for. */
async function json(path: string, get: Get): Promise<unknown> {
  try {
    const answer = await get(path);
    return answer.ok ? await answer.json() : undefined;
  } catch (error) {
    if (error instanceof TypeError || error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function namesIn(list: unknown): string[] {
  const data = isFields(list) && Array.isArray(list.data) ? list.data : [];
  return data.flatMap((each: unknown) => (isFields(each) && typeof each.id === "string" ? [each.id] : []));
}

function waitingIn(response: unknown): Waiting | undefined {
  if (!isFields(response) || response.status !== "queued" || typeof response.place !== "number")
    return undefined;
  const { place, wait_seconds: seconds } = response;
  return typeof seconds === "number" ? { place, seconds } : { place };
}
