import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { printable } from '../../src/errors.js';
import { ImageSource } from '../../src/testing/image-source.js';
import { file, symlink, tar } from '../../src/testing/tar-builder.js';
import { CommandHome } from '../helpers/command.js';

const EVIL = '\u001b]0;title\u0007\u009b31m\u202e';

describe('names that an image brought', () => {
  let source: ImageSource;
  let home: CommandHome;
  let reference: string;

  before(async () => {
    source = await ImageSource.start();
    reference = source.reference('evil');
    const layer = tar([file(`a${EVIL}`), file('b\n-rwsr-xr-x forged'), symlink('c', `d${EVIL}`)]);
    source.publish('evil', [layer], { config: { Cmd: [`x${EVIL}`], Labels: { [EVIL]: EVIL } } });
    home = new CommandHome();
  });
  after(async () => {
    await home.ok('prune', '--all').catch(() => {});
    home.dispose();
    await source[Symbol.asyncDispose]();
  });

  for (const args of [['ls'], ['ls', '--long'], ['ls', '--json'], ['inspect'], ['run']]) {
    test(`do not drive the terminal of ${args.join(' ')}`, async () => {
      const { stdout, stderr } = await home.run([...args, reference]);
      for (const line of `${stdout}${stderr}`.split('\n')) {
        assert.equal(line, printable(line));
        assert.doesNotMatch(line, /^-rwsr-xr-x forged/);
      }
    });
  }
});
