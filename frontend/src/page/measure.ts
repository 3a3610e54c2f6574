/** What the user feels, measured where it is felt: the one place that anything about time is read from. */

/** Gaps kept of one answer, the newest. */
const KEPT = 240;

/** What this page measured of one answer while it watched it being made.  All in milliseconds. */
export interface Timing {
  /** From asking to the first piece of text. */
  readonly ttft?: number;
  /** From the first piece to the last one. */
  readonly span: number;
  /** Pieces that came after the first one. */
  readonly pieces: number;
  /** Time between pieces as they arrived, the newest `KEPT`, oldest first. */
  readonly gaps: readonly number[];
  readonly longest: number;
  /** Paints of its text, and how long they took in all. */
  readonly paints: number;
  readonly painting: number;
}

/** One measured thing, as it happens: what is reported to a server is made of these. */
export interface Sample {
  readonly kind: "ttft" | "gap" | "paint";
  readonly ms: number;
}

export const UNMEASURED: Timing = { span: 0, pieces: 0, gaps: [], longest: 0, paints: 0, painting: 0 };

/** Measures one answer, and tells each sample to whoever reports them. */
export class Meter {
  readonly #askedAt: number;
  readonly #tell: (sample: Sample) => void;
  #firstAt: number | undefined;
  #lastAt = 0;
  #timing = UNMEASURED;

  /** `askedAt` and all other times are of one steady clock, in milliseconds. */
  constructor(askedAt: number, tell: (sample: Sample) => void = () => {}) {
    this.#askedAt = askedAt;
    this.#tell = tell;
  }

  get timing(): Timing {
    return this.#timing;
  }

  /** A piece of text has come. */
  piece(now: number): void {
    if (this.#firstAt === undefined) {
      this.#firstAt = now;
      this.#timing = { ...this.#timing, ttft: now - this.#askedAt };
      this.#tell({ kind: "ttft", ms: now - this.#askedAt });
    } else this.#gap(now - this.#lastAt, now - this.#firstAt);
    this.#lastAt = now;
  }

  /** The answer's text was painted, which took `ms` of the main thread. */
  painted(ms: number): void {
    const { paints, painting } = this.#timing;
    this.#timing = { ...this.#timing, paints: paints + 1, painting: painting + ms };
    this.#tell({ kind: "paint", ms });
  }

  #gap(ms: number, span: number): void {
    const { pieces, gaps, longest } = this.#timing;
    this.#timing = {
      ...this.#timing,
      span,
      pieces: pieces + 1,
      gaps: [...gaps.slice(1 - KEPT), Math.round(ms * 10) / 10],
      longest: Math.max(longest, ms),
    };
    this.#tell({ kind: "gap", ms });
  }
}

/** Return the tokens a second after the first one; undefined if too little came to say. */
export function rate({ span }: Timing, tokens: number): number | undefined {
  return span > 0 && tokens > 1 ? ((tokens - 1) * 1000) / span : undefined;
}

/** Return the value below which the share `q` of `values` lies (nearest rank); undefined of nothing. */
export function quantile(values: readonly number[], q: number): number | undefined {
  const sorted = Float64Array.from(values).sort();
  return sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)];
}
