/** The table of a comparison: medians with their spread, and how many times longer than larder. */
import type { Machine } from './machine.js';
import { formatMs, formatRatio, type Summary, summarize } from './statistics.js';

export const STEPS = ['cold', 'provision', 'destroy', 'remove'] as const;
export type Step = (typeof STEPS)[number];

const TITLES: Readonly<Record<Step, string>> = {
  cold: 'Cold pull to a writable root filesystem',
  provision: 'A second root filesystem, the image being there',
  destroy: 'Giving one root filesystem back',
  remove: 'Removing the image with all that it brought',
};

export interface Measurement {
  readonly tool: string;
  readonly image: string;
  readonly run: number;
  readonly step: Step;
  /** Wall time of the commands. */
  readonly ms: number;
  /** What the kernel still had to write afterwards. */
  readonly syncMs: number;
  readonly load: number;
}

export interface PeersResult {
  readonly when: string;
  readonly machine: Machine;
  readonly versions: Readonly<Record<string, string>>;
  readonly images: readonly { readonly name: string; readonly size: number; readonly layers: number }[];
  readonly tools: readonly string[];
  readonly runs: number;
  readonly measurements: readonly Measurement[];
}

export function toMarkdown(result: PeersResult): string {
  const { machine, tools } = result;
  const lines = [
    `${result.when.slice(0, 10)}, ${machine.cores} cores (${machine.cpu}), ${machine.memoryGiB} GiB, Linux ${machine.kernel}, ${machine.fileSystem}, Node ${machine.node}`,
    '',
    ...tools.map((tool) => `- ${tool}: ${result.versions[tool]?.split('\n', 1)[0] ?? ''}`),
    '',
    `Median (min to max) of ${result.runs} runs in turns; × is how many times longer than larder. "+ sync" is what the kernel still had to write when the command had ended.`,
  ];
  for (const step of STEPS) {
    lines.push(
      '',
      `### ${TITLES[step]}`,
      '',
      `| image | ${tools.join(' | ')} |`,
      `|---|${tools.map(() => '---|').join('')}`,
    );
    for (const image of result.images) {
      lines.push(
        `| ${image.name} (${Math.round(image.size / 1e6)} MB, ${image.layers} layers) | ${tools.map((tool) => cell(result, step, image.name, tool)).join(' | ')} |`,
      );
    }
  }
  return `${lines.join('\n')}\n`;
}

function cell(result: PeersResult, step: Step, image: string, tool: string): string {
  const own = summaryOf(result, step, image, tool, 'ms');
  if (own.n === 0) return '–';
  const base = summaryOf(result, step, image, 'larder', 'ms');
  const sync = summaryOf(result, step, image, tool, 'syncMs');
  const ratio =
    tool === 'larder' || base.n === 0 ? '' : `, **${formatRatio(own.median, base.median).replace('x', '×')}**`;
  return `${formatMs(own.median)} (${formatMs(own.min)} to ${formatMs(own.max)})${ratio}, + sync ${formatMs(sync.median)}`;
}

function summaryOf(result: PeersResult, step: Step, image: string, tool: string, what: 'ms' | 'syncMs'): Summary {
  const found = result.measurements.filter((m) => m.step === step && m.image === image && m.tool === tool);
  return summarize(found.map((m) => m[what]));
}
