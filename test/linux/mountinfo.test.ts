import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { findMount, mountsUnder, parseMountinfo } from '../../src/linux/mountinfo.js';

const TABLE = [
  '22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw',
  '30 22 0:25 / /store/a\\040b\\011\\012\\134 ro,nosuid - erofs /proc/self/fd/7 ro,seclabel',
  '31 30 0:26 /sub /store/a\\040b\\011\\012\\134/inner rw master:4 propagate_from:2 - overlay larder rw,lowerdir=/x\\054y',
  '32 22 0:27 / /store-two rw - tmpfs none rw',
  '33 22 0:28 / /store/- rw - tmpfs - rw',
  '34 22 0:29 / /store/- ro - proc proc rw',
  '',
].join('\n');

describe('the mount table', () => {
  const mounts = parseMountinfo(TABLE);

  it('unescapes spaces, tabs, newlines and backslashes of paths', () => {
    assert.equal(mounts[1]?.mountPoint, '/store/a b\t\n\\');
  });

  it('reads any number of optional fields as the propagation', () => {
    assert.deepEqual(mounts.map(({ propagation }) => propagation).slice(0, 3), [
      ['shared:1'],
      [],
      ['master:4', 'propagate_from:2'],
    ]);
    assert.equal(mounts[2]?.type, 'overlay');
    assert.equal(mounts[2]?.superOptions, 'rw,lowerdir=/x,y');
  });

  it('finds what is mounted below a directory, not beside it', () => {
    assert.deepEqual(
      mountsUnder('/store', mounts).map(({ id }) => id),
      [30, 31, 33, 34],
    );
  });

  it('answers the uppermost of several mounts at one place', () => {
    assert.equal(findMount('/store/-', mounts)?.id, 34);
  });

  it('answers undefined for a directory that is no mount point', () => {
    assert.equal(findMount('/store', mounts), undefined);
  });

  it('reads the table of this process', () => {
    assert.equal(findMount('/')?.mountPoint, '/');
  });
});
