/** The time between pieces, drawn: a bar for each, its height by the logarithm, so that 10 ms and 1 s both show. */

const WIDTH = 120;
const HEIGHT = 20;
const STEP = 2;
const BARS = WIDTH / STEP;

/** From this many milliseconds on a reader notices a pause. */
const SLOW = 250;

export function Gaps({ gaps, label }: { gaps: readonly number[]; label: string }) {
  const shown = gaps.slice(-BARS);
  if (shown.length < 2) return null;
  return (
    <svg class="gaps" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} role="img" aria-label={label}>
      <title>{label}</title>
      <path class="wire" d={`M0 ${HEIGHT - 0.5}H${WIDTH}`} />
      <path d={bars(shown, (ms) => ms < SLOW)} />
      <path class="slow" d={bars(shown, (ms) => ms >= SLOW)} />
    </svg>
  );
}

/** Draw the bars of those gaps that are `meant`. */
export function bars(gaps: readonly number[], meant: (ms: number) => boolean): string {
  return gaps
    .map((ms, at) => (meant(ms) ? `M${at * STEP + 0.75} ${HEIGHT - 1}v-${tall(ms).toFixed(1)}` : ""))
    .join("");
}

/** One millisecond is the least that shows, ten seconds the most. */
export function tall(ms: number): number {
  const share = Math.log10(Math.min(10_000, Math.max(1, ms))) / 4;
  return 1 + share * (HEIGHT - 3);
}
