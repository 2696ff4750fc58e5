/** `resident FLAGS`: keeps a store open in whatever namespaces it was started in, and does what each line of its input says. */
import { createHash } from 'node:crypto';
import { readFileSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type BackendName, isLarderError, openLarder, type PulledImage } from '../../src/index.js';
import { mountsUnder } from '../../src/linux/mountinfo.js';

export type Request =
  | { readonly what: 'provision'; readonly reference: string; readonly id: string; readonly backend: BackendName }
  | { readonly what: 'look' | 'look-written' | 'write' | 'destroy'; readonly id: string }
  | { readonly what: 'recover'; readonly known: readonly string[] }
  | { readonly what: 'hold'; readonly reference: string }
  | { readonly what: 'held' | 'prune' | 'check' | 'mounts' | 'claims' };

export interface Answer {
  readonly result?: unknown;
  readonly warnings: readonly string[];
  readonly code?: string;
}

const flags = JSON.parse(process.argv[2] ?? '{}') as { readonly root: string; readonly owner: string };
const larder = await openLarder(flags);
let held: PulledImage | undefined;
let warnings: string[] = [];
const onEvent = (event: { readonly type: string; readonly message?: unknown }): void => {
  if (event.type === 'warning') warnings.push(String(event.message));
};

writeSync(1, 'ready\n');
for await (const line of createInterface(process.stdin)) {
  warnings = [];
  const answer = await doIt(JSON.parse(line) as Request).then(
    (result) => ({ result, warnings }),
    (error: unknown) => ({ warnings, code: isLarderError(error) ? error.code : String(error) }),
  );
  writeSync(1, `${JSON.stringify(answer satisfies Answer)}\n`);
}
await held?.[Symbol.asyncDispose]();
await larder.close();

async function doIt(request: Request): Promise<unknown> {
  switch (request.what) {
    case 'provision':
      return (await larder.provision(request.reference, { id: request.id, backend: request.backend, onEvent })).rootfs;
    case 'look':
      return sha256(readFileSync(join(rootfsOf(request.id), 'marker')));
    case 'write':
      return writeFileSync(join(rootfsOf(request.id), 'd/written'), request.id);
    case 'look-written':
      return readFileSync(join(rootfsOf(request.id), 'd/written'), 'utf8');
    case 'destroy':
      return larder.destroy(request.id, { onEvent });
    case 'recover':
      return larder.recover(request.known, { onEvent });
    case 'hold':
      held = await larder.pull(request.reference);
      return undefined;
    case 'held':
      return sha256((await held?.fs.readFile('/marker')) ?? new Uint8Array());
    case 'prune':
      return larder.prune({ all: true, onEvent });
    case 'check':
      return findings();
    case 'mounts':
      return mountsUnder(flags.root).length;
    case 'claims':
      return larder.containers().map(({ container }) => container);
  }
}

async function findings(): Promise<string[]> {
  const found: string[] = [];
  for await (const { kind, subject, message } of larder.check({ deep: true })) {
    if (kind === 'fault') found.push(`${subject}: ${message}`);
  }
  return found;
}

function rootfsOf(id: string): string {
  const claim = larder.containers().find(({ container }) => container === id);
  return claim?.images[0]?.rootfs ?? '';
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
