/** Containers in containers: cases of the provisioner's suite. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { LarderEvent } from '../../events.js';
import { namesOf, type ProvisionerCase, provisionIt, requireNothing, rootfsOf } from './provisioner-fixture.js';
import { later, soon, until } from './store-fixture.js';

export const nestedCases: Record<string, ProvisionerCase> = {
  'a nested container has a root filesystem of its own, and goes without its parent': async (fixture) => {
    const parent = await provisionIt(fixture, 'a');
    const child = await provisionIt(fixture, 'a/b');
    assert.equal(child.container, 'a/b');
    assert.ok(!child.rootfs.startsWith(join(parent.rootfs, '../')), 'it lies in the directory of its parent');
    assert.equal(await rootfsOf(fixture, 'a/b'), child.rootfs);
    assert.equal(await fixture.provisioner.destroy('a/b'), true);
    assert.deepEqual(await namesOf(fixture), ['a']);
    assert.equal(readFileSync(join(parent.rootfs, 'image'), 'utf8'), 'this is image\n');
  },
  'destroying a parent destroys what is nested in it first, and nothing else': async (fixture) => {
    for (const id of ['a', 'a/b/c', 'a/b', 'a/d', 'ab', 'a-b', 'b/a']) await provisionIt(fixture, id);
    const gone: string[] = [];
    const onEvent = (event: LarderEvent) => event.type === 'destroyed' && gone.push(event.container);
    assert.equal(await fixture.provisioner.destroy('a', { onEvent }), true);
    assert.deepEqual([gone[0], gone.at(-1), gone.toSorted()], ['a/b/c', 'a', ['a', 'a/b', 'a/b/c', 'a/d']]);
    assert.deepEqual(await namesOf(fixture), ['a-b', 'ab', 'b/a']);
  },
  'a parent that is one only by its children exists as long as they do': async (fixture) => {
    await provisionIt(fixture, 'a/b/c');
    assert.equal(await fixture.provisioner.destroy('a/x'), false);
    assert.equal(await fixture.provisioner.destroy('a'), true);
    assert.equal(await fixture.provisioner.destroy('a'), false);
    await requireNothing(fixture);
  },
  'a parent can be made after what is nested in it': async (fixture) => {
    await provisionIt(fixture, 'a/b');
    await provisionIt(fixture, 'a');
    await assert.rejects(provisionIt(fixture, 'a/b'), { code: 'LARDER_CONTAINER_EXISTS' });
    assert.deepEqual(await namesOf(fixture), ['a', 'a/b']);
  },
  'parents and children that are destroyed at once all settle': async (fixture) => {
    const other = await fixture.open();
    for (let round = 0; round < 4; round++) {
      for (const id of ['a', 'a/b', 'a/b/c', 'a/d']) await provisionIt(fixture, id);
      const destroys = ['a/b/c', 'a', 'a/b', 'a/d', 'a'].flatMap((id) => [
        fixture.provisioner.destroy(id),
        other.destroy(id),
      ]);
      const outcomes = await soon(Promise.all(destroys), 'the destroys');
      assert.ok(outcomes.includes(true));
      await requireNothing(fixture);
    }
  },
  'destroying a parent leaves nothing of a child that is still being made': async (fixture) => {
    fixture.publish();
    fixture.source.setFault(({ kind }) => (kind === 'layer' ? { kind: 'delay', ms: 300 } : undefined));
    const provision = later(provisionIt(fixture, 'a/b'));
    await until(() => fixture.source.requests('layer').length > 0, 'the layer is asked for');
    const other = await fixture.open();
    const destroys = [fixture.provisioner.destroy('a'), other.destroy('a')];
    assert.ok((await soon(Promise.all(destroys), 'the destroys')).includes(true));
    await assert.rejects(provision, { code: 'LARDER_ABORTED' });
    await requireNothing(fixture);
  },
  'provisions of children race the destroy of their parent, and each child is whole or gone': async (fixture) => {
    await provisionIt(fixture, 'warm');
    for (let round = 0; round < 6; round++) {
      const ids = ['a', 'a/b', 'a/b/c', 'a/d'];
      const provisions = Promise.allSettled(ids.map((id) => provisionIt(fixture, id)));
      const destroys = Promise.all([fixture.provisioner.destroy('a'), fixture.provisioner.destroy('a/b')]);
      await soon(Promise.all([provisions, destroys]), 'the race');
      for (const id of await namesOf(fixture)) {
        assert.equal(readFileSync(join(await rootfsOf(fixture, id), 'image'), 'utf8'), 'this is image\n');
      }
      await fixture.provisioner.destroy('a');
      assert.deepEqual(await namesOf(fixture), ['warm']);
      assert.deepEqual(fixture.state().directories, ['warm']);
    }
  },
  'prune beside nested containers that come and go never stands still': async (fixture) => {
    await provisionIt(fixture, 'holder');
    let busy = true;
    const pruning = (async () => {
      while (busy) await fixture.provisioner.pruneImages([]);
    })();
    try {
      for (let round = 0; round < 6; round++) {
        for (const id of ['a', 'a/b', 'a/b/c']) await soon(provisionIt(fixture, id), `provision ${id}`);
        assert.equal(await soon(fixture.provisioner.destroy('a'), 'destroy a'), true);
      }
    } finally {
      busy = false;
      await pruning;
    }
    assert.deepEqual(await namesOf(fixture), ['holder']);
  },
};
