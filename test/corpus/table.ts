/** ▸ The corpus as Markdown, for `docs/corpus.md`: one row for each case. */
import type { CaseBase, LayerCase } from './case.js';
import { allCases } from './cases.js';

const HEAD = '| case | what it is | outcome | umoci 0.4 | containerd |\n|---|---|---|---|---|';

export function corpusTable(): string {
  const { layers, documents, files, references } = allCases;
  const rows = [
    ...layers.map((one) => row(one, treeOf(one), one)),
    ...[...documents, ...files, ...references].map((one) => row(one, 'taken')),
  ];
  return [HEAD, ...rows.sort(byId).map(({ text }) => text)].join('\n');
}

interface Row {
  readonly id: string;
  readonly text: string;
}

function row(one: CaseBase, legal: string, peers: Pick<LayerCase, 'umoci' | 'containerd'> = {}): Row {
  const elsewhere = Object.entries(one.by ?? {}).map(([puller, code]) => `, ${puller}: \`${code.slice(7)}\``);
  const outcome = one.refused === undefined ? legal : `refused: \`${one.refused.slice(7)}\`${elsewhere.join('')}`;
  const cells = [one.id, one.what, outcome, peers.umoci ?? '', peers.containerd ?? ''];
  return { id: one.id, text: `| ${cells.map(escaped).join(' | ')} |` };
}

/** What must be where, in short. */
function treeOf({ tree = {} }: LayerCase): string {
  const facts = Object.entries(tree).flatMap(([path, fact]) => [fact].flat().map((each) => `/${path} ${each}`));
  const text = facts.join('; ');
  return text.length === 0 ? 'taken' : `\`${JSON.stringify(shortened(text)).slice(1, -1)}\``;
}

function shortened(text: string): string {
  return text.length > 120 ? `${text.slice(0, 119)}…` : text;
}

function escaped(text: string): string {
  return text
    .replaceAll('|', '\\|')
    .replaceAll(/[\0-\x1f\x7f-\xa0]/g, '·')
    .replaceAll('<', '&lt;');
}

/** T9 before T10, M before T. */
function byId(a: Row, b: Row): number {
  return a.id.localeCompare(b.id, 'en', { numeric: true });
}

if (process.argv[1] !== undefined && import.meta.url.endsWith(process.argv[1].split('/').at(-1) ?? '-')) {
  process.stdout.write(`${corpusTable()}\n`);
}
