/** What a comparison with the peers has measured, and the figures that follow from it. */
import { type BenchResult, type Figure, figure, readResult } from './result.js';

export const STEPS = ['cold', 'again', 'provision', 'destroy', 'remove'] as const;
export type Step = (typeof STEPS)[number];

export interface Measurement {
  readonly tool: string;
  readonly image: string;
  readonly run: number;
  readonly step: Step;
  /** Wall time of the commands. */
  readonly ms: number;
  /** What the kernel still had to write afterwards. */
  readonly syncMs: number;
  /** Processor time of the tool with all its processes. */
  readonly userMs: number;
  readonly systemMs: number;
  /** The most that its processes had resident together. */
  readonly peakBytes: number;
  /** To the disk, by everybody on the machine, until the sync had ended. */
  readonly writtenBytes: number;
  readonly load: number;
}

export interface BenchedImage {
  readonly name: string;
  /** Of all layers, as transferred. */
  readonly size: number;
  /** Of all layers, as tars. */
  readonly uncompressed: number;
  readonly layers: number;
}

export interface PeersResult extends BenchResult {
  readonly versions: Readonly<Record<string, string>>;
  readonly images: readonly BenchedImage[];
  readonly tools: readonly string[];
  readonly measurements: readonly Measurement[];
  /** What went wrong, in words; the measurements are without these rounds. */
  readonly failures: readonly string[];
}

type Measured = Pick<PeersResult, 'images' | 'tools' | 'measurements'>;

const QUANTITIES = {
  ms: { unit: 'ms', of: (m: Measurement) => m.ms },
  durable: { unit: 'ms', of: (m: Measurement) => m.ms + m.syncMs },
  cpu: { unit: 'ms', of: (m: Measurement) => m.userMs + m.systemMs },
  memory: { unit: 'bytes', of: (m: Measurement) => m.peakBytes },
  written: { unit: 'bytes', of: (m: Measurement) => m.writtenBytes },
} as const;
export type Quantity = keyof typeof QUANTITIES;

/** Of the cold pull everything is a figure, of the others the time. */
const REPORTED: readonly (readonly [Step, Quantity])[] = [
  ...STEPS.map((step) => [step, 'ms'] as const),
  ['cold', 'durable'],
  ['cold', 'cpu'],
  ['cold', 'memory'],
  ['cold', 'written'],
];

export function readPeers(path: string): PeersResult {
  const result = readResult(path);
  if (!isPeers(result)) throw new Error(`${path}: no result of a comparison with peers`);
  return result;
}

function isPeers(result: BenchResult): result is PeersResult {
  return result.bench === 'peers' && 'measurements' in result && Array.isArray(result.measurements);
}

export function isOwn(tool: string): boolean {
  return tool === 'larder' || tool.startsWith('larder-');
}

/** One value for each run, in their order. */
export function valuesOf(result: Measured, step: Step, quantity: Quantity, image: string, tool: string): number[] {
  return result.measurements
    .filter((m) => m.step === step && m.image === image && m.tool === tool)
    .sort((a, b) => a.run - b.run)
    .map(QUANTITIES[quantity].of)
    .filter(Number.isFinite);
}

/** `cold/node-like:latest/larder`, `cold-cpu/node-like:latest/larder`, …; larder's are set against each peer's. */
export function figuresOf(result: Measured): Figure[] {
  const peers = result.tools.filter((tool) => !isOwn(tool));
  return REPORTED.flatMap(([step, quantity]) =>
    result.images.flatMap(({ name: image }) =>
      result.tools.flatMap((tool) => {
        const nameOf = (other: string) => `${step}${quantity === 'ms' ? '' : `-${quantity}`}/${image}/${other}`;
        const values = valuesOf(result, step, quantity, image, tool);
        if (values.length === 0) return [];
        const reference = isOwn(tool) ? peers.map(nameOf) : [];
        return [figure(nameOf(tool), QUANTITIES[quantity].unit, values, { reference })];
      }),
    ),
  );
}
