'use strict';
/**
 * Runs a program that `npm run build` put into one file, `dist/bundle/NAME.cjs`, with V8's code cache of it beside it:
 * nothing is looked for and nothing is compiled, which is most of what a start costs.
 *
 * The cache is code: V8 does what it says, and does not look whether it is damaged. It is taken only from beside the
 * program, from who owns the program (or root), and with a checksum that names the program; V8 itself refuses one of
 * another version or of other flags. Whatever is wrong with it, the program is compiled instead, and nobody is told.
 */
const { createHash } = require('node:crypto');
const { closeSync, fstatSync, openSync, readFileSync, statSync } = require('node:fs');
const { createRequire } = require('node:module');
const { join } = require('node:path');
const { pathToFileURL } = require('node:url');
const { Script } = require('node:vm');

const DIST = join(__dirname, '..', 'dist');
const CHECKSUM_BYTES = 32;
/** `//`, a SHA-256 of what follows, a line end. */
const NAME_BYTES = 67;

exports.DIST = DIST;

/**
 * What the program exports, or undefined where there is none: then the modules that it was made of are to be loaded.
 * `onScript` is given the script before it runs, and what makes a cache file of its cached data.
 */
exports.load = function load(name, onScript) {
  const path = join(DIST, 'bundle', `${name}.cjs`);
  const program = readWithOwner(path);
  if (program === undefined || isStale(program)) return undefined;
  const script = new Script(program.bytes.latin1Slice(), {
    filename: path,
    cachedData: readCache(program, `${path}.cache`),
  });
  onScript?.(script, (cache) => Buffer.concat([checksumOf(program, cache), cache]));
  const module = { exports: {} };
  const urlOf = (file) => pathToFileURL(join(DIST, 'src', file)).href;
  script.runInThisContext()(module, createRequire(path), urlOf, (name) => import(name));
  return module.exports;
};

/** In a checkout where tsc alone was run since. The package has no such file. */
function isStale({ mtimeMs }) {
  const compiled = statSync(join(DIST, '.tsbuildinfo'), { throwIfNoEntry: false });
  return compiled !== undefined && compiled.mtimeMs > mtimeMs;
}

function readCache(program, path) {
  const file = readWithOwner(path);
  if (file === undefined || (file.uid !== program.uid && file.uid !== 0)) return undefined;
  const cache = file.bytes.subarray(CHECKSUM_BYTES);
  return checksumOf(program, cache).equals(file.bytes.subarray(0, CHECKSUM_BYTES)) ? cache : undefined;
}

/** With the program's name: V8 compares no more than its length. */
function checksumOf(program, cache) {
  const node = `${process.version} ${process.platform} ${process.arch}`;
  return createHash('sha256').update(node).update(program.bytes.subarray(0, NAME_BYTES)).update(cache).digest();
}

/** Undefined when it cannot be read, for whatever reason: there is another way. */
function readWithOwner(path) {
  let fd;
  try {
    fd = openSync(path, 'r');
    const { uid, mtimeMs } = fstatSync(fd);
    return { bytes: readFileSync(fd), uid, mtimeMs };
  } catch {
    return undefined;
  } finally {
    if (fd !== undefined) closeSync(fd);
  }
}
