// Watches from outside, in any page that reads one response from one socket: the frames of the browser between the
// first delta and the last event, and the tasks that held its main thread for more than 50 ms until a second later.
"use strict";

window.witness = { frames: 0, longTasks: [], began: 0, ended: 0 };
requestAnimationFrame(function next() {
  if (witness.began > 0 && witness.ended === 0) witness.frames += 1;
  requestAnimationFrame(next);
});
new PerformanceObserver((list) => {
  for (const { duration, startTime } of list.getEntries()) witness.longTasks.push({ duration, startTime });
}).observe({ type: "longtask" });

const AFTER_MS = 1000;
const LIMIT_MS = 300_000;
witness.done = new Promise((resolve, reject) => {
  const look = ({ data }) => {
    const [, type] = /^\{"type":"([a-z_.]+)"/.exec(data) ?? [];
    if (type === "response.output_text.delta") witness.began ||= performance.now();
    if (type === "error") reject(new Error(data));
    if (!/^response\.(completed|incomplete|failed)$/.test(type)) return;
    witness.ended = performance.now();
    setTimeout(resolve, AFTER_MS);
  };
  window.WebSocket = class extends WebSocket {
    constructor(...options) {
      super(...options);
      this.addEventListener("message", look);
    }
  };
  setTimeout(() => reject(new Error("the answer did not end")), LIMIT_MS);
});
// Said by whoever waits for it.
witness.done.catch(() => {});
