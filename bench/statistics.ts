/** Five numbers of a series, none of them a mean: outliers are the machine's, not the program's. */
export interface Summary {
  readonly n: number;
  readonly min: number;
  readonly median: number;
  readonly max: number;
}

export function summarize(values: readonly number[]): Summary {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (i: number) => sorted[Math.max(0, Math.min(sorted.length - 1, i))] ?? Number.NaN;
  const middle = (sorted.length - 1) / 2;
  return {
    n: sorted.length,
    min: at(0),
    median: (at(Math.floor(middle)) + at(Math.ceil(middle))) / 2,
    max: at(sorted.length - 1),
  };
}

/** `8.3 ms`, `12.4 s`. */
export function formatMs(ms: number): string {
  if (Number.isNaN(ms)) return '–';
  if (ms < 1000) return `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
  return `${(ms / 1000).toFixed(ms < 10_000 ? 2 : 1)} s`;
}

/** `3.4x`: how many times longer than the other. */
export function formatRatio(a: number, b: number): string {
  const ratio = a / b;
  return Number.isFinite(ratio) ? `${ratio < 10 ? ratio.toFixed(ratio < 0.95 ? 2 : 1) : Math.round(ratio)}x` : '–';
}

/** How many times more one series is than another: of the medians, with the least and the most of the turns' own. */
export function summarizeRatio(a: readonly number[], b: readonly number[]): Summary {
  const turns = summarize(a.flatMap((value, i) => (b[i] === undefined ? [] : [value / b[i]])));
  return { ...turns, median: summarize(a).median / summarize(b).median };
}

/** `14 MB`, `1.3 GB`. */
export function formatBytes(bytes: number): string {
  if (!Number.isFinite(bytes)) return '–';
  return bytes < 1e9 ? `${Math.round(bytes / 1e6)} MB` : `${(bytes / 1e9).toFixed(1)} GB`;
}
