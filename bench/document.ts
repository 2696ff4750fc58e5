/**
 * `npm run bench -- document`: writes the tables of docs/performance.md anew from bench/results/: the newest result of
 * each benchmark, and of the comparison with the peers the newest of each file system.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { parseArgs } from 'node:util';
import { CHECKOUT } from '../test/checkout.js';
import { toMarkdown } from './peers-report.js';
import { readPeers } from './peers-result.js';
import { type Figure, listResults, type Recorded } from './result.js';
import { formatBytes, formatMs, formatRatio } from './statistics.js';

const { values } = parseArgs({
  options: {
    results: { type: 'string', default: join(CHECKOUT, 'bench', 'results') },
    page: { type: 'string', default: join(CHECKOUT, 'docs', 'performance.md') },
  },
});

const newest = newestOfEach();
let page = readFileSync(values.page, 'utf8');
page = replaced(page, 'peers', newest.filter(isPeers).map(peersSection));
page = replaced(page, 'figures', newest.filter((one) => !isPeers(one)).map(figuresSection));
writeFileSync(values.page, page);

function isPeers({ result }: Recorded): boolean {
  return result.bench === 'peers';
}

function newestOfEach(): Recorded[] {
  const kinds = new Map<string, Recorded>();
  for (const recorded of listResults(values.results)) {
    const { result } = recorded;
    const kind = result.bench === 'peers' ? `peers ${result.machine.fileSystem}` : result.bench;
    if ((kinds.get(kind)?.result.when ?? '') < result.when) kinds.set(kind, recorded);
  }
  return [...kinds].sort(([a], [b]) => a.localeCompare(b)).map(([, recorded]) => recorded);
}

function peersSection({ path, result }: Recorded): string {
  const name = basename(path);
  const markdown = toMarkdown(readPeers(path)).replace(/^###/gm, '####');
  return `### On ${result.machine.fileSystem}\n\n[${name}](../bench/results/${name}): ${markdown.trim()}`;
}

function figuresSection({ path, result }: Recorded): string {
  const name = basename(path);
  const { bench, when, machine, figures } = result;
  const place = `${when.slice(0, 10)}, ${machine.cores} cores (${machine.cpu}), Linux ${machine.kernel}, ${machine.fileSystem}, Node ${machine.node}`;
  return [
    `### npm run bench -- ${bench}`,
    '',
    `[${name}](../bench/results/${name}): ${place}`,
    '',
    '| figure | median | least to most | against |',
    '|---|---|---|---|',
    ...figures.map((figure) => figureRow(figure, figures)),
  ].join('\n');
}

function figureRow({ name, unit, median, min, max, references = [] }: Figure, figures: readonly Figure[]): string {
  const against = references.map((reference) => {
    const other = figures.find((figure) => figure.name === reference);
    return other === undefined ? reference : `${formatRatio(median, other.median).replace('x', '×')} ${reference}`;
  });
  return `| ${name} | ${shown(median, unit)} | ${shown(min, unit)} to ${shown(max, unit)} | ${against.join(', ')} |`;
}

function shown(value: number, unit: string): string {
  if (unit === 'ms') return formatMs(value);
  if (unit === 's') return formatMs(value * 1e3);
  if (unit === 'bytes') return formatBytes(value);
  return `${Number(value.toPrecision(3))} ${unit}`;
}

/** Everything between the two marks of a part. */
function replaced(text: string, part: string, sections: readonly string[]): string {
  const [begin, end] = [`<!-- begin ${part} -->`, `<!-- end ${part} -->`];
  const [from, to] = [text.indexOf(begin), text.indexOf(end)];
  if (from < 0 || to < from) throw new Error(`document: ${values.page}: no ${begin} with ${end} after it`);
  return `${text.slice(0, from + begin.length)}\n\n${[...sections, ''].join('\n\n')}${text.slice(to)}`;
}
