import assert from 'node:assert/strict';
import { readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { dearmor, isDetachedSignature, isKeyring } from '../../src/registry/appc-openpgp.js';
import { keyFilesFor, verifySignature } from '../../src/registry/appc-trust.js';
import { makeDirectory } from '../helpers/temporary.js';
import { hasGnupg, KeyMaker } from './appc-keys.js';

describe('the keys for a name', () => {
  const keys = { '': ['all'], 'example.com': ['site'], 'example.com/a/': ['team'], 'example.com/free': [] };
  const of = (name: string, required = false): readonly string[] | undefined =>
    keyFilesFor({ required, keys }, name, 'fetch');

  it('are those of the longest prefix in whole parts', () => {
    assert.deepEqual(of('example.com'), ['site']);
    assert.deepEqual(of('example.com/a'), ['team']);
    assert.deepEqual(of('example.com/a/b'), ['team']);
    assert.deepEqual(of('example.com/ab'), ['site']);
    assert.deepEqual(of('example.com.evil/a'), ['all']);
  });

  it('may be none, unless signatures are required', () => {
    assert.equal(of('example.com/free/x'), undefined);
    assert.throws(() => of('example.com/free/x', true), { code: 'LARDER_SIGNATURE_INVALID', message: /no key/ });
    assert.throws(() => keyFilesFor({ required: true, keys: {} }, 'a', 'fetch'), { code: 'LARDER_SIGNATURE_INVALID' });
    assert.equal(keyFilesFor(undefined, 'a', 'fetch'), undefined);
  });
});

describe('a signature', { skip: hasGnupg ? false : 'gpg and gpgv are not installed' }, () => {
  const directory = makeDirectory();
  const work = makeDirectory();
  const maker = new KeyMaker();
  const data = Buffer.from('an ACI, compressed as it is transferred');
  const file = join(directory, 'app.aci');
  const files = { good: '', binary: '', both: '', expired: '', revoked: '', other: '', secret: '' };
  const key = { good: '', old: '', gone: '', other: '' };
  const LONG_AGO = '20200101T000000';

  before(() => {
    writeFileSync(file, data);
    key.good = maker.make('good');
    key.other = maker.make('other');
    key.old = maker.make('old', { at: LONG_AGO, expire: '30d' });
    key.gone = maker.make('gone');
  });
  before(() => {
    const to = (name: string): string => join(directory, name);
    files.good = maker.export(to('good.asc'), [key.good]);
    files.binary = maker.export(to('good.gpg'), [key.good], { armor: false });
    files.both = maker.export(to('both.asc'), [key.good, key.other]);
    files.other = maker.export(to('other.asc'), [key.other]);
    files.expired = maker.export(to('old.asc'), [key.old]);
    files.secret = maker.exportSecret(to('secret.asc'), key.good);
  });
  after(() => {
    maker[Symbol.dispose]();
    for (const each of [directory, work]) rmSync(each, { recursive: true });
  });

  const verify = (signature: Uint8Array, keyFiles: readonly string[], path?: string): Promise<string> =>
    verifySignature(file, signature, keyFiles, {
      doing: 'fetch',
      directory: work,
      ...(path === undefined ? {} : { path }),
    });
  const refuses = async (signature: Uint8Array, keyFiles: readonly string[], message: RegExp): Promise<void> => {
    await assert.rejects(verify(signature, keyFiles), { code: 'LARDER_SIGNATURE_INVALID', message });
    assert.deepEqual(readdirSync(work), []);
  };

  it('by a configured key is good, whether its file is armoured or not, and nothing stays behind', async () => {
    const signature = maker.sign([key.good], data);
    for (const files_ of [[files.good], [files.binary], [files.other, files.good], [files.both]])
      assert.equal(await verify(signature, files_), key.good);
    assert.deepEqual(readdirSync(work), []);
  });

  it('of other bytes is bad', async () => {
    await refuses(maker.sign([key.good], Buffer.from('other')), [files.good], /does not fit the image/);
  });

  it('by a key that is not configured for the name is not enough', async () => {
    await refuses(maker.sign([key.other], data), [files.good], /by a key that is not configured/);
  });

  it('by two is good when one of them is known', async () => {
    assert.equal(await verify(maker.sign([key.other, key.good], data), [files.good]), key.good);
  });

  it('beside one that does not fit is refused', async () => {
    const good = maker.sign([key.good], data);
    const bad = maker.sign([key.other], Buffer.from('other'));
    await refuses(Buffer.concat([good, bad]), [files.both], /does not fit the image/);
    await refuses(Buffer.concat([bad, good]), [files.both], /does not fit the image/);
  });

  it('by a key that has expired since is refused, though gpgv ends with 0', async () => {
    await refuses(maker.sign([key.old], data, { at: '20200102T000000' }), [files.expired], /a key that has expired/);
  });

  it('by a key that was revoked since is refused, though gpgv ends with 0', async () => {
    const signature = maker.sign([key.gone], data);
    maker.revoke(key.gone);
    const revoked = maker.export(join(directory, 'gone.asc'), [key.gone]);
    await refuses(signature, [revoked], /a key that was revoked/);
  });

  it('that has expired itself is refused', async () => {
    const old = maker.make('oldest', { at: LONG_AGO });
    const keys = maker.export(join(directory, 'oldest.asc'), [old]);
    const signature = maker.sign([old], data, { at: '20200102T000000', more: ['--default-sig-expire', '1d'] });
    await refuses(signature, [keys], /the signature has expired/);
  });

  it('made with SHA-1 is refused', async () => {
    await refuses(
      maker.sign([key.good], data, { more: ['--digest-algo', 'SHA1', '--allow-weak-digest-algos'] }),
      [files.good],
      /signature/,
    );
  });

  it('of text instead of bytes is refused', async () => {
    await refuses(
      maker.sign([key.good], data, { more: ['--textmode'] }),
      [files.good],
      /does not call the signature good/,
    );
  });

  it('that brings a message of its own is refused before gpgv sees it', async () => {
    await refuses(maker.sign([key.good], data, { how: '--sign' }), [files.good], /not an ASCII-armoured detached/);
    await refuses(
      maker.sign([key.good], data, { how: '--clear-sign' }),
      [files.good],
      /not an ASCII-armoured detached/,
    );
  });

  it('that is no signature is refused', async () => {
    for (const text of [
      '',
      'x',
      '-----BEGIN PGP SIGNATURE-----\n\n!!!!\n-----END PGP SIGNATURE-----\n',
      '<html>404</html>',
    ])
      await refuses(Buffer.from(text), [files.good], /not an ASCII-armoured detached/);
    const cut = maker.sign([key.good], data).toString().split('\n').slice(0, 3).join('\n');
    await refuses(Buffer.from(cut), [files.good], /not an ASCII-armoured detached/);
  });

  it('cannot be verified without gpgv, and says so', async () => {
    await assert.rejects(verify(maker.sign([key.good], data), [files.good], '/nowhere'), {
      code: 'LARDER_SIGNATURE_INVALID',
      message: /gpgv is not installed/,
      hint: /install/,
    });
  });

  it('needs key files that hold public keys and nothing else', async () => {
    const signature = maker.sign([key.good], data);
    const junk = join(directory, 'junk');
    writeFileSync(junk, 'not a key');
    for (const path of [junk, files.secret])
      await assert.rejects(verify(signature, [path]), {
        code: 'LARDER_CONFIG_INVALID',
        message: /does not hold OpenPGP/,
      });
    await assert.rejects(verify(signature, [join(directory, 'missing')]), {
      code: 'LARDER_CONFIG_INVALID',
      message: /read the keys.*missing/,
    });
  });

  it('and keys are told apart by their packets', () => {
    const packets = dearmor(maker.sign([key.good], data), 'SIGNATURE') ?? Buffer.alloc(0);
    assert.ok(isDetachedSignature(packets));
    assert.ok(!isKeyring(packets));
    assert.ok(!isDetachedSignature(Buffer.alloc(0)));
    for (let cut = 1; cut < packets.length; cut++) assert.ok(!isDetachedSignature(packets.subarray(0, cut)), `${cut}`);
  });
});
