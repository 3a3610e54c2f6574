/** Which model answers here. */

/** Ask for the first model's name; empty if none is there yet or the list cannot be had. */
export async function modelName(get: typeof fetch = fetch): Promise<string> {
  try {
    const answer = await get("/v1/models");
    return answer.ok ? nameIn(await answer.json()) : "";
  } catch (error) {
    // The name is an ornament: what else fails is told where an answer is waited for.
    if (error instanceof TypeError || error instanceof SyntaxError) return "";
    throw error;
  }
}

function nameIn(list: unknown): string {
  const [first] = (list as { data?: { id?: unknown }[] } | null)?.data ?? [];
  return typeof first?.id === "string" ? first.id : "";
}
