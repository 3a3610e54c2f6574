/** The page's languages. */

import type { Language } from "../preferences.ts";
import { en, type Words } from "./en.ts";
import { zh } from "./zh.ts";

export type { Words };

export const LANGUAGES: Readonly<Record<Language, Words>> = { en, zh };
