// The official OpenAI package for Node, over a WebSocket that comes back: node openai_sdk.mjs "Why is the sky blue?"
// npm install openai ws
import OpenAI from "openai";
import { ResponsesWS } from "openai/resources/responses/ws";

const client = new OpenAI({
  baseURL: `${process.env.TOKENWIRE_URL ?? "http://127.0.0.1:8080"}/v1`,
  apiKey: process.env.TOKENWIRE_KEY ?? "any",
});
const { data } = await client.models.list();
const input = process.argv.slice(2).join(" ") || "Why is the sky blue?";

let seen; // the last event that came, which a new socket begins behind
const socket = new ResponsesWS(client, {
  reconnect: {
    onReconnecting: () => ({
      parameters: { response_id: seen.id, starting_after: String(seen.number) },
    }),
  },
});
socket.on("error", (error) => {
  console.error(error.message);
  process.exitCode = 1;
  socket.close();
});
socket.on("event", (event) => {
  seen = { id: event.response?.id ?? seen?.id, number: event.sequence_number };
  if (event.type === "response.output_text.delta") process.stdout.write(event.delta);
  if (["response.completed", "response.incomplete", "response.failed"].includes(event.type)) {
    process.stdout.write("\n");
    socket.close();
  }
});
socket.send({ type: "response.create", model: data[0].id, input, max_output_tokens: 200 });
