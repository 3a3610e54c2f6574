/** The page with buttons that break what is behind it: `make demo-faults`. */

import "../main.ts";

const FAULTS = {
  "kill-worker": "Kill the worker",
  "kill-gateway": "Kill the gateway",
  "cut-socket": "Cut the socket",
  "freeze-redis": "Freeze Redis for 2 s",
} as const;

function made<K extends keyof HTMLElementTagNameMap>(tag: K, text = ""): HTMLElementTagNameMap[K] {
  const element = document.createElement(tag);
  element.textContent = text;
  return element;
}

const panel = made("aside");
panel.id = "faults";
panel.setAttribute("aria-label", "Break it");
const said = made("ul");
said.setAttribute("aria-live", "polite");

async function strike(fault: string): Promise<void> {
  const answer = await fetch(`/demo/${fault}`, { method: "POST" });
  const { done } = (await answer.json()) as { done: string };
  said.prepend(made("li", done));
  while (said.children.length > 3) said.lastElementChild?.remove();
}

panel.append(made("h2", "Break it while it answers"));
for (const [fault, name] of Object.entries(FAULTS)) {
  const button = made("button", name);
  button.id = fault;
  button.type = "button";
  button.addEventListener("click", () => {
    button.disabled = true;
    void strike(fault).finally(() => {
      button.disabled = false;
    });
  });
  panel.append(button);
}
panel.append(said);
document.body.append(panel);
