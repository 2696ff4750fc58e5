/**
 * A mode in base 256 of more than 2^53 was read as 0: GNU tar takes its low bits, which may be set-user-ID. Nobody writes
 * one, so it is refused; smaller ones, negative ones too, have the low bits that every reader sees.
 */
import assert from 'node:assert/strict';
import { it } from 'node:test';
import { base256, file, tar } from '../../src/testing/tar-builder.js';
import { readOne } from '../tar/helpers.js';

const archive = (mode: bigint): Buffer => tar([file('f', '', { patch: (header) => base256(header, 100, 8, mode) })]);

it('a mode that no double holds is refused', () => {
  for (const mode of [0x30303036343400n, -(2n ** 54n)]) {
    assert.throws(() => readOne(archive(mode)), { code: 'LARDER_LAYER_INVALID', message: /its mode is out of range/ });
  }
});

it('of others the low bits count', () => {
  assert.equal(readOne(archive(0o104755n)).mode, 0o4755);
  assert.equal(readOne(archive(2n ** 53n - 1n)).mode, 0o7777);
  assert.equal(readOne(archive(-1n)).mode, 0o7777);
});
