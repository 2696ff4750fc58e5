/** Mutations of JSON documents: of the tree where the bytes are one, seldom of the bytes. */
import { mutateBytes } from './mutate.js';
import type { Random } from './random.js';

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

const HEX = 'a'.repeat(64);
const VALUES: readonly Json[] = [
  null,
  true,
  0,
  -1,
  1.5,
  2 ** 32,
  2 ** 53,
  -(2 ** 63),
  '',
  'x',
  '\u0000',
  '\ud800',
  '../../etc/passwd',
  '/',
  '.',
  '..',
  '__proto__',
  'constructor',
  'sha256:',
  `sha256:${HEX}`,
  `sha256:${HEX.toUpperCase()}`,
  `sha512:${HEX}`,
  `md5:${HEX}`,
  `sha256:../../${HEX}`,
  'x'.repeat(5000),
  '1e400',
  '\u001b[31m',
  [],
  {},
  [[]],
  [null],
  { a: null },
];
/** What JSON.parse takes and JSON.stringify would not write. */
const RAW = [
  '1e400',
  '-0',
  '1E-999',
  '9007199254740993',
  '"\\u0061"',
  '"\\ud800"',
  'NaN',
  '[,]',
  '{"__proto__":{"x":1}}',
];
const MARK = '\u0002raw\u0002';

export function mutateJson(input: Buffer, random: Random, words: readonly string[] = []): Buffer {
  const tree = random.oneIn(8) ? undefined : parse(input);
  if (tree === undefined) return mutateBytes(input, random, words);
  const slots = slotsOf(tree);
  const slot = random.pick(slots);
  change(slot, slots, random, words);
  const text = JSON.stringify(slots[0]?.holder['']).replace(JSON.stringify(MARK), random.pick(RAW));
  return Buffer.from(random.oneIn(40) ? `\ufeff${text}` : text);
}

interface Slot {
  readonly holder: { [key: string]: Json };
  readonly key: string;
}

/** Every place of the tree; the first one is the whole. */
function slotsOf(tree: Json): Slot[] {
  const slots: Slot[] = [{ holder: { '': tree }, key: '' }];
  for (let i = 0; i < slots.length && slots.length < 2000; i++) {
    const { holder, key } = slots[i] as Slot;
    const value = holder[key];
    if (typeof value !== 'object' || value === null) continue;
    for (const name of Object.keys(value)) slots.push({ holder: value as { [key: string]: Json }, key: name });
  }
  return slots;
}

function change({ holder, key }: Slot, slots: readonly Slot[], random: Random, words: readonly string[]): void {
  const other = random.pick(slots);
  const copy = (): Json => structuredClone(other.holder[other.key] ?? null);
  const value = holder[key] ?? null;
  switch (random.below(9)) {
    case 0:
      delete holder[key];
      if (key === '') holder[''] = null;
      break;
    case 1:
      holder[key] = copy();
      break;
    case 2:
      holder[key] = MARK;
      break;
    case 3:
      if (words.length > 0) holder[key] = random.pick(words);
      break;
    case 4:
      if (key !== '') holder[words.length > 0 && random.oneIn(2) ? random.pick(words) : `${key}X`] = copy();
      break;
    case 5:
      holder[key] = nested(value, random.below(100));
      break;
    case 6:
      if (Array.isArray(value) && value.length > 0) {
        holder[key] = Array.from({ length: random.oneIn(10) ? 2000 : 1 + random.below(5) }, () => random.pick(value));
      } else if (typeof value === 'string') holder[key] = tweak(value, random, words);
      break;
    default:
      holder[key] = random.pick(VALUES);
  }
}

function tweak(text: string, random: Random, words: readonly string[]): string {
  return mutateBytes(Buffer.from(text), random, words).toString('utf8');
}

function nested(value: Json, depth: number): Json {
  let deep = value;
  for (let i = 0; i < depth; i++) deep = i % 2 === 0 ? [deep] : { a: deep };
  return deep;
}

function parse(input: Buffer): Json | undefined {
  if (input.length > 64 * 1024) return undefined;
  try {
    return JSON.parse(input.toString('utf8')) as Json;
  } catch {
    return undefined;
  }
}
