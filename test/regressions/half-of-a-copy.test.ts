import assert from 'node:assert/strict';
import { existsSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { LarderEvent } from '../../src/events.js';
import { layerOf, withStore } from '../store/prune-store.js';

test('a container whose provision was killed while files were written is kept, and told to be half of one', () =>
  withStore(async ({ source, larder, root }) => {
    source.publish('image', [layerOf('kept')]);
    await larder.provision(`${source.reference('image')}:latest`, { id: 'c', backend: 'copy' });
    const half = join(root, 'containers', 'c', 'half');
    assert.ok(!existsSync(half));
    const warnings: string[] = [];
    const onEvent = (event: LarderEvent): void => {
      if (event.type === 'warning') warnings.push(event.message);
    };
    await larder.recover(['c'], { onEvent });
    assert.deepEqual(warnings, []);

    // As it is found when the process died over its files.
    symlinkSync('half', half);
    await larder.recover(['c'], { onEvent });
    assert.match(warnings.join(), /container c is kept, and its root filesystem is not whole/);
    const findings: string[] = [];
    for await (const { invariant, subject } of larder.check()) findings.push(`${invariant} ${subject}`);
    assert.deepEqual(findings, ['I4 container c']);
    await larder.destroy('c');
    assert.ok(!existsSync(join(root, 'containers', 'c')));
  }));
