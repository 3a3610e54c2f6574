/** Colours for code: highlight.js by way of lowlight, which gives a tree instead of HTML.  Loaded when first needed. */

import { common, createLowlight } from "lowlight";
import { element, type Node } from "./node.ts";

type Tree = ReturnType<ReturnType<typeof createLowlight>["highlight"]>;
type Child = Tree["children"][number];

const LOWLIGHT = createLowlight(common);

/** Return code with its parts named by class; undefined for a language that is not known. */
export function highlight(language: string, code: string): Node[] | undefined {
  if (!LOWLIGHT.registered(language)) return undefined;
  return LOWLIGHT.highlight(language, code).children.map(nodeOf);
}

function nodeOf(child: Child): Node {
  if (child.type === "text") return child.value;
  if (child.type !== "element") return "";
  const { className } = child.properties;
  const names = Array.isArray(className) ? className.join(" ") : "";
  return element("span", child.children.map(nodeOf), { class: names });
}
