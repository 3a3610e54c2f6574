// The least that shows an answer: a socket, and a text node for each delta.  No numbers are looked at, nothing is
// resumed, formatted, scrolled or kept: what it costs is what any page must pay.
"use strict";

window.ask = (input) => {
  const answer = document.getElementById("answer");
  const socket = new WebSocket(`ws://${location.host}/v1/responses`);
  socket.onopen = () => socket.send(JSON.stringify({ type: "response.create", model: "echo", input }));
  socket.onmessage = ({ data }) => {
    const event = JSON.parse(data);
    if (event.type === "response.output_text.delta") answer.append(event.delta);
  };
};
