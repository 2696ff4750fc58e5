import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { CopyBackend } from '../../src/backends/copy.js';
import { runHere } from '../../src/backends/tasks.js';
import { mayOwnAnything } from '../../src/linux/capabilities.js';
import { StoredLayers } from '../../src/testing/stored-layers.js';
import { file, tar } from '../../src/testing/tar-builder.js';

const skip = mayOwnAnything() ? false : 'only root keeps these attributes';

describe('extended attributes that the kernel refuses to write', { skip }, () => {
  let root: string;

  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'larder-xattrs-'));
  });

  afterEach(() => {
    rmSync(root, { recursive: true, force: true });
  });

  it('are named as what the image asks for and this backend cannot do', async () => {
    const layers = new StoredLayers(join(root, 'store'));
    const layer = layers.add(tar([file('a', '', { xattrs: { 'security.capability': 'zz' } })]));
    const [rootfs, backendDir] = [join(root, 'rootfs'), join(root, 'backend')];
    mkdirSync(backendDir);
    const backend = new CopyBackend({ access: layers, run: runHere, scratch: root });
    await assert.rejects(backend.provision([layer], rootfs, backendDir), {
      code: 'LARDER_ENTRY_UNSUPPORTED',
      message: /\/a: .*security\.capability/,
    });
    assert.equal(await backend.destroy(rootfs, backendDir), true);
  });
});
