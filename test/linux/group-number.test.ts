import assert from 'node:assert/strict';
import { test } from 'node:test';
import { groupNumber } from '../../src/linux/group-number.js';

test('a group is known by its name and by its number', async () => {
  assert.equal(await groupNumber('root'), 0);
  assert.equal(await groupNumber('54003'), 54_003);
});

for (const name of ['no-such-group', '', '-h', '--help', 'root:x', 'a b', '1e3', '-1']) {
  test(`${JSON.stringify(name)} is no group`, () =>
    assert.rejects(groupNumber(name), { code: 'LARDER_FLAGS_INVALID', message: /there is no such group/ }));
}
