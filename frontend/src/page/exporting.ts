/** A conversation as a file: Markdown for people, JSON for programs. */

import { branch, type Conversation } from "./conversation.ts";

export interface File {
  readonly name: string;
  readonly type: string;
  readonly content: string;
}

/** Write the shown branch as Markdown. */
export function markdownFile(conversation: Conversation): File {
  const parts = branch(conversation).flatMap(({ prompt, text }) => [quote(prompt), text.trimEnd()]);
  const content = `${[`# ${conversation.title}`, ...parts].join("\n\n")}\n`;
  return { name: `${slug(conversation)}.md`, type: "text/markdown", content };
}

/** Write everything that is known, all branches. */
export function jsonFile(conversation: Conversation): File {
  const content = `${JSON.stringify(conversation, undefined, 2)}\n`;
  return { name: `${slug(conversation)}.json`, type: "application/json", content };
}

function quote(prompt: string): string {
  return prompt.replaceAll(/^/gm, "> ");
}

/** Make a file's name that every system takes. */
function slug({ title, createdAt }: Conversation): string {
  const words = title.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
  const name = words.join("-").slice(0, 48).replace(/-$/, "");
  return `${new Date(createdAt).toISOString().slice(0, 10)}-${name || "conversation"}`;
}
