/** What the user chose, over all conversations: how it looks, which language, what is asked for. */

import type { Request } from "../client/index.ts";
import { isFields, parse } from "./shape.ts";
import { allowed, type Store } from "./shelf.ts";

const NAME = "tokenwire.preferences";

export type Theme = "system" | "light" | "dark";
export type Language = "en" | "zh";

/** Parameters of a request; what is undefined is left to the server. */
export interface Parameters {
  readonly temperature?: number;
  readonly top_p?: number;
  readonly max_output_tokens?: number;
  readonly seed?: number;
  readonly instructions?: string;
}

export interface Preferences {
  readonly theme: Theme;
  /** Undefined: as the browser says. */
  readonly language?: Language;
  /** Undefined: the first one served. */
  readonly model?: string;
  readonly parameters: Parameters;
  /** Show the pieces an answer came in, coloured by how likely each was. */
  readonly tokens: boolean;
  /** Ask for answers that are one JSON object. */
  readonly json: boolean;
}

/** At a temperature of 1, the API's default, small models ramble. */
export const PLAIN: Preferences = {
  theme: "system",
  parameters: { temperature: 0.3, top_p: 0.9 },
  tokens: false,
  json: false,
};

/** What a number may be: the server's own bounds. */
export const BOUNDS = {
  temperature: { min: 0, max: 2, whole: false },
  top_p: { min: 0.01, max: 1, whole: false },
  max_output_tokens: { min: 1, max: 1_000_000, whole: true },
  seed: { min: 0, max: Number.MAX_SAFE_INTEGER, whole: true },
} as const;

export type NumberName = keyof typeof BOUNDS;

/** Read a number as it was typed: undefined for the server's choice, or if it may not be. */
export function numberIn(name: NumberName, typed: string): number | undefined {
  const value = Number(typed);
  return typed.trim() !== "" && isWithin(name, value) ? value : undefined;
}

function isWithin(name: NumberName, value: unknown): value is number {
  const { min, max, whole } = BOUNDS[name];
  if (typeof value !== "number" || !(value >= min && value <= max)) return false;
  return !whole || Number.isSafeInteger(value);
}

/** Read what `encode` wrote, field by field; what is not understood is as if it was never chosen. */
export function decode(written: string | null): Preferences {
  const value = parse(written ?? "");
  if (!isFields(value)) return PLAIN;
  const { theme, language, model, parameters, tokens, json } = value;
  return {
    theme: theme === "light" || theme === "dark" ? theme : "system",
    ...(language === "en" || language === "zh" ? { language } : {}),
    ...(typeof model === "string" ? { model } : {}),
    parameters: isFields(parameters) ? parametersIn(parameters) : PLAIN.parameters,
    tokens: tokens === true,
    json: json === true,
  };
}

function parametersIn(fields: Readonly<Record<string, unknown>>): Parameters {
  const numbers = (Object.keys(BOUNDS) as NumberName[]).filter((name) => isWithin(name, fields[name]));
  const { instructions } = fields;
  return {
    ...Object.fromEntries(numbers.map((name) => [name, fields[name]])),
    ...(typeof instructions === "string" && instructions !== "" ? { instructions } : {}),
  };
}

export function encode(preferences: Preferences): string {
  return JSON.stringify(preferences);
}

/** Change parameters; what is undefined or empty is left to the server. */
export function tuned({ parameters }: Preferences, change: Partial<Parameters>): Parameters {
  const all = Object.entries({ ...parameters, ...change });
  return Object.fromEntries(all.filter(([, value]) => value !== undefined && value !== ""));
}

/** Return the model that was chosen, unless it is known that the server has it no more. */
export function chosenModel({ model }: Preferences, served: readonly string[]): string | undefined {
  return model !== undefined && (served.length === 0 || served.includes(model)) ? model : undefined;
}

/** Return what is asked of the server besides the input; `served` are its models, none if they are not known yet. */
export function asked(preferences: Preferences, served: readonly string[] = []): Omit<Request, "input"> {
  const { parameters, tokens, json } = preferences;
  const model = chosenModel(preferences, served);
  return {
    ...parameters,
    ...(model === undefined ? {} : { model }),
    ...(tokens ? { include: ["message.output_text.logprobs"] } : {}),
    ...(json ? { text: { format: { type: "json_object" } } } : {}),
  };
}

/** Say which language to speak: the chosen one, else the first of the browser's that is known. */
export function languageOf({ language }: Preferences, spoken: readonly string[]): Language {
  if (language !== undefined) return language;
  const known = spoken
    .map((tag) => tag.slice(0, 2).toLowerCase())
    .find((tag) => tag === "zh" || tag === "en");
  return known === "zh" ? "zh" : "en";
}

export function load(store: Store | undefined): Preferences {
  let written: string | null = null;
  allowed(() => {
    written = store?.getItem(NAME) ?? null;
  });
  return decode(written);
}

export function save(store: Store | undefined, preferences: Preferences): void {
  allowed(() => store?.setItem(NAME, encode(preferences)));
}
