/** What a download goes on from and what it costs then, in every way in which one is broken off. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import type { ErrorCode } from '../../src/errors.js';
import type { LayerResult } from '../../src/layers/layer-job.js';
import { type LayerWriterContext, writeLayer } from '../../src/layers/layer-writer.js';
import type { BlobRequest } from '../../src/registry/blob.js';
import { type Endpoint, originOf, plainServer } from '../../src/registry/hosts/endpoint.js';
import type { Pace } from '../../src/registry/ranges-ahead.js';
import { RegistryClient } from '../../src/registry/registry-client.js';
import { digestOf } from '../../src/spec/digest.js';
import { parseReference } from '../../src/spec/reference.js';
import { DEFAULT_LAYER_LIMITS } from '../../src/tar/entry.js';
import { until } from '../../src/testing/conformance/store-fixture.js';
import {
  type FakeRegistry,
  type FaultHook,
  type RegistryAuth,
  startRegistry,
} from '../../src/testing/fake-registry.js';
import { sampleLayer } from '../../src/testing/image-source.js';

const PLAIN = 'application/vnd.oci.image.layer.v1.tar';
const BLOB = sampleLayer('resumed', 6_000_000);
const DIGEST = digestOf(BLOB);
const HALF = BLOB.length >> 1;
const half = BLOB.subarray(0, HALF);

interface Case {
  /** What an earlier run left. */
  readonly prefix: Uint8Array;
  readonly auth?: RegistryAuth;
  /** Of the registry, and of the server that it redirects to. */
  readonly fault?: (servers: Servers) => FaultHook;
  readonly storageFault?: FaultHook;
  readonly mirror?: boolean;
  /** The ranges that were asked for, in order; an empty one is the whole. `!` stands before those of the storage server or the mirror. */
  readonly asked: readonly string[];
  readonly resumedFrom?: number;
  readonly fails?: ErrorCode;
}

interface Servers {
  readonly origin: FakeRegistry;
  readonly other: FakeRegistry;
}

const from = (offset: number): string => `bytes=${offset}-`;
/** The n-th fault for the n-th request for the blob. */
const inTurn = (...faults: readonly ReturnType<FaultHook>[]): FaultHook => {
  let n = 0;
  return ({ url }) => (url.includes('/blobs/') ? faults[n++] : undefined);
};

const CASES: Readonly<Record<string, Case>> = {
  'a process was cancelled or killed': { prefix: half, asked: [from(HALF)], resumedFrom: HALF },
  'a process was killed when all bytes were there': { prefix: BLOB, asked: [], resumedFrom: BLOB.length },
  'a power cut left less than had come': { prefix: BLOB.subarray(0, 4096), asked: [from(4096)], resumedFrom: 4096 },
  'a power cut left zeros at the end': {
    prefix: Buffer.concat([half.subarray(0, HALF - 8192), Buffer.alloc(8192)]),
    asked: [from(HALF), ''],
  },
  'a power cut left nothing but zeros': { prefix: Buffer.alloc(HALF), asked: [from(HALF), ''] },
  'there are more bytes than the blob has': { prefix: Buffer.concat([BLOB, BLOB]), asked: [''] },
  'the bytes are wrong, and those of the registry too': {
    prefix: Buffer.concat([half.subarray(0, HALF - 8192), Buffer.alloc(8192)]),
    fault: () => () => ({ kind: 'wrong-bytes' }),
    asked: [from(HALF), ''],
    fails: 'LARDER_DIGEST_MISMATCH',
  },
  'the next registry knows no ranges': {
    prefix: half,
    fault: () => () => ({ kind: 'ignore-range' }),
    asked: [from(HALF)],
    resumedFrom: HALF,
  },
  'the next registry gets ranges wrong': {
    prefix: half,
    fault: () => inTurn({ kind: 'wrong-range' }),
    asked: [from(HALF), ''],
    resumedFrom: HALF,
  },
  'the next one is a mirror': { prefix: half, mirror: true, asked: [`!${from(HALF)}`], resumedFrom: HALF },
  'the mirror breaks off, too': {
    prefix: half,
    mirror: true,
    storageFault: () => ({ kind: 'status', status: 404 }),
    asked: [`!${from(HALF)}`, from(HALF)],
    resumedFrom: HALF,
  },
  'the mirror sent something else before it broke off': {
    prefix: new Uint8Array(),
    mirror: true,
    storageFault: inTurn(wrongUntil(100_000), { kind: 'status', status: 404 }),
    asked: ['!', `!${from(100_000)}`, from(100_000), ''],
  },
  'the address of a redirect has expired': {
    prefix: half,
    fault: ({ other }) => inTurn(...[1, 2].map(() => redirectTo(other))),
    storageFault: inTurn({ kind: 'status', status: 403 }),
    asked: [from(HALF), `!${from(HALF)}`, from(HALF), `!${from(HALF)}`],
    resumedFrom: HALF,
  },
  'the address of a redirect expires in the middle': {
    prefix: half,
    fault: ({ other }) => inTurn(...[1, 2, 3].map(() => redirectTo(other))),
    storageFault: inTurn({ kind: 'short', after: 100_000 }, { kind: 'status', status: 403 }),
    asked: [HALF, HALF + 100_000, HALF + 100_000].flatMap((offset) => [from(offset), `!${from(offset)}`]),
    resumedFrom: HALF,
  },
  'the token expires in the middle': {
    prefix: half,
    auth: { type: 'bearer' },
    fault: ({ origin }) => {
      let n = 0;
      return ({ url, headers }) => {
        if (!url.includes('/blobs/') || headers.authorization === undefined || n++ > 0) return undefined;
        setImmediate(() => origin.expireTokens());
        return { kind: 'short', after: 100_000 };
      };
    },
    // Each token is got by a request without one, or with one that is refused.
    asked: [from(HALF), from(HALF), from(HALF + 100_000), from(HALF + 100_000)],
    resumedFrom: HALF,
  },
};

/** So many wrong bytes, and then the end. */
function wrongUntil(bytes: number): ReturnType<FaultHook> {
  const respond = (socket: Socket, { body }: { readonly body: Buffer }): void => {
    socket.write(`HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n\r\n`);
    socket.end(Buffer.alloc(bytes, 'wrong'));
  };
  return { kind: 'raw', respond };
}

function redirectTo(other: FakeRegistry): ReturnType<FaultHook> {
  return { kind: 'redirect', location: `${other.url}/v2/app/blobs/${DIGEST}?signature=x` };
}

interface RunOptions extends Partial<LayerWriterContext> {
  readonly connections?: number;
  readonly beforeAsk?: (request: BlobRequest, asked: readonly string[]) => Promise<void>;
}

async function run(
  { prefix, auth, fault, storageFault, mirror = false }: Omit<Case, 'asked'>,
  { connections = 1, beforeAsk, ...context }: RunOptions = {},
): Promise<{
  readonly result: LayerResult | { readonly code: unknown };
  readonly asked: string[];
  readonly kept: number;
}> {
  const asked: string[] = [];
  const note = (mark: string, hook?: FaultHook): FaultHook => {
    return (request) => {
      if (request.url.includes('/blobs/')) asked.push(`${mark}${request.headers.range ?? ''}`);
      return hook?.(request);
    };
  };
  await using origin = await startRegistry(auth === undefined ? {} : { auth });
  await using other = await startRegistry();
  for (const server of [origin, other]) server.addBlob('app', BLOB);
  origin.setFault(note('', fault?.({ origin, other })));
  other.setFault(note('!', storageFault));
  const reference = parseReference(`${origin.host}/app`);
  const atMirror: Endpoint = { ...originOf(reference, plainServer(other.host)), isMirror: true };
  const client = new RegistryClient({
    timeouts: { backoffMs: 1, stallMs: 2000, connectMs: 3000 },
    ...(mirror ? { hosts: { endpointsOf: async () => [atMirror, originOf(reference)] } } : {}),
  });
  const broker = client.broker(reference);
  const directory = mkdtempSync(join(tmpdir(), 'larder-resume-'));
  try {
    const ingestData = join(directory, 'data');
    writeFileSync(ingestData, prefix);
    const job = {
      ...({ digest: DIGEST, size: BLOB.length, mediaType: PLAIN, source: { kind: 'registry' }, ingestData } as const),
      ...{ outDir: join(directory, 'out'), limits: DEFAULT_LAYER_LIMITS },
    };
    const ask = async (request: BlobRequest) => {
      await beforeAsk?.(request, asked);
      return { ...(await broker.ask(request)), connections };
    };
    const written = writeLayer(job, { signal: new AbortController().signal, ask, ...context });
    const result = await written.catch((error: { readonly code: unknown }) => error);
    return { result, asked, kept: readFileSync(ingestData).length };
  } finally {
    rmSync(directory, { recursive: true });
  }
}

describe('a download goes on when', () => {
  for (const [what, { asked: expected, resumedFrom = 0, fails, ...given }] of Object.entries(CASES)) {
    it(what, async () => {
      const { result, asked, kept } = await run(given);
      if (fails === undefined) {
        assert.ok('diffId' in result, JSON.stringify(result));
        assert.deepEqual([result.diffId, result.resumedFrom, kept], [DIGEST, resumedFrom, BLOB.length]);
      } else {
        assert.deepEqual([(result as { readonly code: unknown }).code, kept], [fails, 0]);
      }
      assert.deepEqual(asked, expected);
    });
  }
});

it('a layer is fetched once more, over one connection, when its ranges were wrong', async () => {
  const isPart = (range: string | undefined): boolean => /-\d+$/.test(range ?? '');
  const pace: Pace = {
    arrived() {},
    waited() {},
    refused() {},
    connections: (_now, _rest, limit) => Math.min(4, limit),
  };
  let whole = 0;
  const fault: FaultHook = ({ url, headers }) => {
    if (!url.includes('/blobs/')) return undefined;
    if (isPart(headers.range)) return { kind: 'wrong-bytes' };
    return whole++ === 0 ? { kind: 'short', after: 200_000 } : undefined;
  };
  // The first connection breaks, and is not taken up again before there is a part.
  const beforeAsk = async ({ lane, attempt }: BlobRequest, asked: readonly string[]): Promise<void> => {
    if (lane === undefined && attempt > 0) await until(() => asked.some(isPart), 'a part is asked for');
  };
  const given = { prefix: new Uint8Array(), fault: () => fault };
  const { result, asked } = await run(given, { connections: 4, pace, beforeAsk });
  assert.equal('diffId' in result && String(result.diffId), DIGEST, JSON.stringify(result));
  assert.equal(asked.at(-1), '');
});
