/** The tables of a comparison: medians with their spread, how many times more than larder, and the targets. */
import {
  type BenchedImage,
  isOwn,
  type PeersResult,
  type Quantity,
  STEPS,
  type Step,
  valuesOf,
} from './peers-result.js';
import { formatBytes, formatMs, formatRatio, type Summary, summarize, summarizeRatio } from './statistics.js';

const TITLES: Readonly<Record<Step, string>> = {
  cold: 'Cold pull to a writable root filesystem',
  again: 'A pull that finds nothing new',
  provision: 'A second root filesystem, the image being there',
  destroy: 'Giving one root filesystem back',
  remove: 'Removing the image with all that it brought',
};

/** How many times faster than the best peer larder is to be; other images are small. */
const TARGETS: Readonly<Record<string, number>> = { 'python-like': 5, 'node-like': 5, 'big-layer': 3 };
const SMALL = 2;
/** Processor time of larder as a share of the best peer's. */
const CPU_TARGET = 0.5;

export function toMarkdown(result: PeersResult): string {
  const { machine, tools } = result;
  return [
    `${result.when.slice(0, 10)}, ${machine.cores} cores (${machine.cpu}), ${machine.memoryGiB} GiB, Linux ${machine.kernel}, ${machine.fileSystem}, Node ${machine.node}`,
    '',
    ...tools.map((tool) => `- ${tool}: ${result.versions[tool] ?? ''}`),
    '',
    `Median (min to max) of ${runsOf(result)} in turns; × is how many times more than larder.`,
    ...against(result),
    ...STEPS.flatMap((step) => table(result, TITLES[step], step, 'ms', formatMs)),
    ...table(result, 'The cold pull with a sync after it', 'cold', 'durable', formatMs),
    ...table(result, 'Processor time of the cold pull, all processes', 'cold', 'cpu', formatMs),
    ...table(result, 'Memory peak of the cold pull, all processes', 'cold', 'memory', formatBytes),
    ...table(result, 'Written to the disk by the cold pull', 'cold', 'written', formatBytes),
    ...failures(result),
    '',
  ].join('\n');
}

/** larder, which has synced, against the best peer, which has not. */
function against(result: PeersResult): string[] {
  const own = result.tools.filter(isOwn);
  const rows = result.images.flatMap((image) => own.flatMap((tool) => targetRow(result, image, tool)));
  if (rows.length === 0) return [];
  return [
    '',
    '### Against the best peer',
    '',
    'Cold pull to a writable root filesystem: larder durable at its end, the best peer as its command ends. Ratios are of the medians, in brackets the least and the most of the turns’ own. Processor time: seconds for each GB of layers as tars.',
    '',
    '| image | | median | best peer | times faster | target | processor s/GB | best peer | share | target |',
    '|---|---|---|---|---|---|---|---|---|---|',
    ...rows,
  ];
}

function targetRow(result: PeersResult, image: BenchedImage, tool: string): string[] {
  const own = valuesOf(result, 'cold', 'ms', image.name, tool);
  const peer = bestPeer(result, image, 'ms');
  if (own.length === 0 || peer === undefined) return [];
  const ratio = summarizeRatio(peer.values, own);
  const target = TARGETS[image.name.split(':', 1)[0] ?? ''] ?? SMALL;
  return [
    `| ${[
      image.name,
      tool,
      formatMs(summarize(own).median),
      `${peer.tool} ${formatMs(summarize(peer.values).median)}`,
      `**${spread(ratio)}**`,
      verdict(ratio.median >= target, `${target}×`),
      ...processorCells(result, image, tool),
    ].join(' | ')} |`,
  ];
}

function processorCells(result: PeersResult, image: BenchedImage, tool: string): string[] {
  const own = valuesOf(result, 'cold', 'cpu', image.name, tool);
  const peer = bestPeer(result, image, 'cpu');
  if (own.length === 0 || peer === undefined) return ['–', '–', '–', '–'];
  const share = summarizeRatio(own, peer.values);
  const perGB = (values: readonly number[]) => (summarize(values).median / 1e3 / (image.uncompressed / 1e9)).toFixed(2);
  return [
    perGB(own),
    `${peer.tool} ${perGB(peer.values)}`,
    `**${spread(share)}**`,
    verdict(share.median <= CPU_TARGET, `${CPU_TARGET}×`),
  ];
}

function verdict(met: boolean, target: string): string {
  return `${target}: ${met ? 'met' : 'missed'}`;
}

function bestPeer(result: PeersResult, image: BenchedImage, quantity: Quantity) {
  return result.tools
    .filter((tool) => !isOwn(tool))
    .map((tool) => ({ tool, values: valuesOf(result, 'cold', quantity, image.name, tool) }))
    .filter(({ values }) => values.length > 0)
    .sort((a, b) => summarize(a.values).median - summarize(b.values).median)[0];
}

function spread({ median, min, max, n }: Summary): string {
  return n < 2 ? times(median) : `${times(median)} (${times(min)} to ${times(max)})`;
}

function times(ratio: number): string {
  return formatRatio(ratio, 1).replace('x', '×');
}

type Format = (value: number) => string;

function table(result: PeersResult, title: string, step: Step, quantity: Quantity, format: Format): string[] {
  const measured = ({ name }: BenchedImage) =>
    result.tools.some((tool) => valuesOf(result, step, quantity, name, tool).length > 0);
  if (!result.images.some(measured)) return [];
  return [
    '',
    `### ${title}`,
    '',
    `| image | ${result.tools.join(' | ')} |`,
    `|---|${result.tools.map(() => '---|').join('')}`,
    ...result.images.map((image) => {
      const cells = result.tools.map((tool) => cell(result, step, quantity, image.name, tool, format));
      return `| ${image.name} (${formatBytes(image.size)}, ${image.layers} layer${image.layers === 1 ? '' : 's'}) | ${cells.join(' | ')} |`;
    }),
  ];
}

function cell(
  result: PeersResult,
  step: Step,
  quantity: Quantity,
  image: string,
  tool: string,
  format: Format,
): string {
  const own = summarize(valuesOf(result, step, quantity, image, tool));
  if (own.n === 0) return '–';
  const base = summarize(valuesOf(result, step, quantity, image, 'larder'));
  const ratio = tool === 'larder' || base.n === 0 ? '' : `, **${times(own.median / base.median)}**`;
  const range = own.n < 2 ? '' : ` (${format(own.min)} to ${format(own.max)})`;
  return `${format(own.median)}${range}${ratio}`;
}

function runsOf({ measurements }: PeersResult): string {
  const counts = new Map<string, number>();
  for (const { tool, image, step } of measurements) {
    const key = `${tool} ${image} ${step}`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  const [least, most] = [Math.min(...counts.values()), Math.max(...counts.values())];
  return least === most ? `${most} run${most === 1 ? '' : 's'}` : `${least} to ${most} runs`;
}

function failures(result: PeersResult): string[] {
  return result.failures.length === 0 ? [] : ['', '### Failed', '', ...result.failures.map((text) => `- ${text}`)];
}
