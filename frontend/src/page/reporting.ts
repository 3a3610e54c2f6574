/** Reports what people felt in front of the page to the gateway: numbers alone, in batches, off the paint. */

import type { Sample } from "./measure.ts";

/** A batch as the gateway takes it: seconds, in the order in which they were measured. */
export interface Report {
  readonly ttft: readonly number[];
  readonly gaps: readonly number[];
  readonly paints: readonly number[];
  /** Lost sockets that were bridged. */
  readonly resumes: number;
}

export interface ReporterOptions {
  /** Send a batch; resolves to false where reports are not wanted, which ends them. */
  readonly send: (report: Report) => Promise<boolean>;
  /** Call back once, after so many milliseconds. */
  readonly later: (flush: () => void, ms: number) => void;
}

/** Between a first sample and its report, in milliseconds: well under the gateway's limit of reports a minute. */
const PAUSE = 10_000;
/** Numbers of a kind in one report; what comes beyond it is left out. */
const MOST = 512;

const LISTS = { ttft: "ttft", gap: "gaps", paint: "paints" } as const;

export class Reporter {
  readonly #options: ReporterOptions;
  #batch = empty();
  #resumes = 0;
  #isDue = false;
  #isWanted = true;

  constructor(options: ReporterOptions) {
    this.#options = options;
  }

  add({ kind, ms }: Sample): void {
    if (!this.#isWanted) return;
    const list = this.#batch[LISTS[kind]];
    if (list.length < MOST) list.push(Math.round(ms * 10) / 10_000);
    this.#soon();
  }

  /** A lost socket was bridged, so many times. */
  resumed(times: number): void {
    if (!this.#isWanted || times === 0) return;
    this.#resumes += times;
    this.#soon();
  }

  /** Send what there is, as when the page goes away. */
  flush(): void {
    this.#isDue = false;
    const report = { ...this.#batch, resumes: this.#resumes };
    const { ttft, gaps, paints, resumes } = report;
    if (!this.#isWanted || ttft.length + gaps.length + paints.length + resumes === 0) return;
    this.#batch = empty();
    this.#resumes = 0;
    void this.#options.send(report).then((isWanted) => {
      this.#isWanted &&= isWanted;
    });
  }

  #soon(): void {
    if (this.#isDue) return;
    this.#isDue = true;
    this.#options.later(() => this.flush(), PAUSE);
  }
}

function empty(): { ttft: number[]; gaps: number[]; paints: number[] } {
  return { ttft: [], gaps: [], paints: [] };
}
