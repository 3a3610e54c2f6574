/** What the page asks a server over HTTP: which models there are, and where a waiting response stands. */

import { isFields } from "./shape.ts";
import type { Waiting } from "./telling.ts";

/** Ask for the models' names; none if nobody is there yet or the list cannot be had. */
export async function modelNames(get: typeof fetch = fetch): Promise<readonly string[]> {
  return namesIn(await json("/v1/models", get));
}

/** Ask how many wait before a response; undefined if it does not wait, or if nobody says so. */
export async function waitingOf(responseId: string, get: typeof fetch = fetch): Promise<Waiting | undefined> {
  return waitingIn(await json(`/v1/responses/${responseId}`, get));
}

/** Both are ornaments: what fails for good is told where the answer is waited for. */
async function json(path: string, get: typeof fetch): Promise<unknown> {
  try {
    const answer = await get(path, { headers: { Accept: "application/json" } });
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
