/**
 * The client on a real gateway: `TOKENWIRE_URL=http://host:port npx vitest run tests/client/live.test.ts`.
 *
 * Node 20 has `WebSocket` only with NODE_OPTIONS=--experimental-websocket.  Without a URL nothing is tested
 * here; tests/clients/test_page_client.py gives one, behind a proxy that cuts.
 */

import { expect, test } from "vitest";
import { type Answer, inFlight, responsesUrl, type State, StreamClient } from "../../src/client/index.ts";

const base = import.meta.env.TOKENWIRE_URL as string | undefined;
const TEXT = "one two three four five ";

/** A client on the gateway, and its answer once it has ended. */
function begin(act: (client: StreamClient, state: State) => void = () => {}) {
  let end: (answer: Answer) => void;
  const ended = new Promise<Answer>((resolve) => {
    end = resolve;
  });
  const client: StreamClient = new StreamClient({
    url: responsesUrl(new URL(base ?? "")),
    onChange: (state) => {
      act(client, state);
      if (state.answer !== undefined && !inFlight(state)) end(state.answer);
    },
  });
  return { client, ended };
}

async function logged(id: string | undefined): Promise<string> {
  const answer = await fetch(`${base}/v1/responses/${id}`);
  const response = (await answer.json()) as { output: { content: { text: string }[] }[] };
  return response.output[0]?.content[0]?.text ?? "";
}

test.skipIf(!base)(
  "a stream is the log's text, however often it is cut",
  async () => {
    const { client, ended } = begin();
    client.ask({ model: "echo", input: TEXT, max_output_tokens: 100 });
    const answer = await ended;
    expect(answer.text).toBe(TEXT.repeat(20));
    expect(answer.text).toBe(await logged(answer.id));
    expect(answer.outcome?.usage?.output_tokens).toBe(100);
    expect(answer.resumes).toBeGreaterThanOrEqual(Number(import.meta.env.TOKENWIRE_RESUMES));
  },
  30_000,
);

test.skipIf(!base)(
  "a stop ends it with what there is",
  async () => {
    const { client, ended } = begin((self, { answer }) => {
      if (answer !== undefined && answer.deltas > 3) self.stop();
    });
    client.ask({ model: "echo", input: TEXT, max_output_tokens: 2_000 });
    const answer = await ended;
    expect(answer.outcome?.status).toBe("cancelled");
    expect(answer.text).toBe(await logged(answer.id));
  },
  30_000,
);

test.skipIf(!base)("a reload shows the whole answer again", async () => {
  const first = begin();
  first.client.ask({ model: "echo", input: TEXT, max_output_tokens: 10 });
  const { id, text } = await first.ended;
  const second = begin();
  second.client.restore(id ?? "");
  expect((await second.ended).text).toBe(text);
});

test.skipIf(!base)("a refusal is told with its code", async () => {
  const { client, ended } = begin();
  client.ask({ model: "echo", input: TEXT, max_output_tokens: 0 });
  expect((await ended).outcome).toMatchObject({ status: "failed", code: "invalid_request" });
});
