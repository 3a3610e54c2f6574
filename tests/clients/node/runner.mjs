// What the official package does against a gateway, told as one JSON line: node runner.mjs SCENE BASE_URL KEY

import OpenAI from "openai";
import { ResponsesWS } from "openai/resources/responses/ws";

const [scene, baseURL, apiKey] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const ASK = { input: "one two three four five ", max_output_tokens: 40, temperature: 0 };
const CHAT = {
  model: "echo",
  messages: [{ role: "user", content: ASK.input }],
  max_tokens: 40,
  temperature: 0,
  stream_options: { include_usage: true },
};
const TERMINAL = ["response.completed", "response.incomplete", "response.failed"];

/** Say messages on a socket, and collect events until the ending; `then` may act on each. */
function talk(options, messages, then = () => {}) {
  return new Promise((resolve, reject) => {
    const ws = new ResponsesWS(client, options);
    const events = [];
    ws.on("error", (error) => {
      ws.close();
      reject(error);
    });
    ws.on("event", (event) => {
      events.push(event);
      then(event, ws);
      if (TERMINAL.includes(event.type)) {
        ws.close();
        resolve(told(events));
      }
    });
    for (const message of messages) ws.send(message);
  });
}

function told(events) {
  const last = events.at(-1);
  return {
    id: last.response.id,
    status: last.response.status,
    text: events.map((event) => (event.type === "response.output_text.delta" ? event.delta : "")).join(""),
    final: last.response.output.flatMap((item) => item.content.map((part) => part.text)).join(""),
    numbers: events.map((event) => [event.first_sequence_number ?? event.sequence_number, event.sequence_number]),
  };
}

/** The response that a completion's id names. */
function named(id) {
  return id.replace("chatcmpl-", "resp_");
}

const SCENES = {
  ws_stream: () => talk({}, [{ type: "response.create", ...ASK }]),

  ws_cancel: () =>
    talk({}, [{ type: "response.create", ...ASK, max_output_tokens: 2000 }], (event, ws) => {
      if (event.type === "response.output_text.delta" && !ws.asked) {
        ws.asked = true;
        ws.send({ type: "response.cancel" });
      }
    }),

  async ws_resume() {
    const seen = [];
    let reconnects = 0;
    const reconnect = {
      initialDelay: 10,
      onReconnecting: () => {
        reconnects += 1;
        return {
          parameters: {
            response_id: seen[0].response.id,
            starting_after: String(seen.at(-1).sequence_number),
          },
        };
      },
    };
    const told = await talk({ reconnect }, [{ type: "response.create", ...ASK }], (event, ws) => {
      seen.push(event);
      if (seen.length === 6) ws.socket.platformSocket.terminate();
    });
    return { ...told, reconnects };
  },

  ws_refused: () => talk({}, [{ type: "response.create", ...ASK, max_output_tokens: 0 }]),

  async ws_wrong_key() {
    return talk({}, [{ type: "response.create", ...ASK }]);
  },

  async sse_stream() {
    const events = [];
    for await (const event of await client.responses.create({ ...ASK, stream: true })) events.push(event);
    return told(events);
  },

  async sse_cancel() {
    const events = [];
    const stream = await client.responses.create({ ...ASK, max_output_tokens: 2000, stream: true });
    for await (const event of stream) {
      events.push(event);
      if (event.type === "response.output_text.delta" && events.length < 7) {
        await client.responses.cancel(events[0].response.id);
      }
    }
    return told(events);
  },

  async json() {
    const response = await client.responses.create(ASK);
    return { id: response.id, status: response.status, text: response.output_text, final: response.output_text };
  },

  async over_limit() {
    return client.responses.create({ ...ASK, max_output_tokens: 0 });
  },

  async chat() {
    const chunks = [];
    for await (const chunk of await client.chat.completions.create({ ...CHAT, stream: true })) chunks.push(chunk);
    const text = chunks.map((chunk) => chunk.choices[0]?.delta?.content ?? "").join("");
    const { finish_reason } = chunks.findLast((chunk) => chunk.choices.length > 0).choices[0];
    return { id: named(chunks[0].id), text, final: text, status: finish_reason, usage: chunks.at(-1).usage };
  },

  async chat_json() {
    const { id, choices, usage } = await client.chat.completions.create({ ...CHAT, stream_options: undefined });
    const text = choices[0].message.content;
    return { id: named(id), text, final: text, status: choices[0].finish_reason, usage };
  },

  async chat_left() {
    const stream = await client.chat.completions.create({ ...CHAT, max_tokens: 2000, stream: true });
    for await (const chunk of stream) {
      if (chunk.choices[0]?.delta?.content) return { id: named(chunk.id) }; // leaving the loop aborts the request
    }
    return null;
  },

  async chat_refused() {
    return client.chat.completions.create({ ...CHAT, max_tokens: 0, stream: true });
  },
};

try {
  console.log(JSON.stringify({ ok: await SCENES[scene]() }));
} catch (error) {
  console.log(JSON.stringify({ error: { message: String(error.message), status: error.status ?? null, code: error.code ?? error.error?.code ?? null } }));
}
