/**
 * Makes a checkout ready to run: installs the dependencies and compiles, each only when there is something to do, so
 * that `npm test` and `npm run demo` may call it every time. As a program: `node scripts/setup.mjs [--force]`.
 */
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = dirname(dirname(fileURLToPath(import.meta.url)));
const DIST = join(ROOT, 'dist');
const STAMP = join(DIST, '.sources');
const SOURCES = ['src', 'test', 'bench', 'examples'];

/** Ends the process with the failing step's status: what went wrong has been said by then. */
export function setup({ force = false } = {}) {
  refuseOldNode();
  install();
  build(force);
}

function refuseOldNode() {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major > 20 || (major === 20 && minor >= 19)) return;
  fail(`setup: Node ${process.versions.node}: too old, larder needs 20.19 or newer`);
}

function install() {
  const lock = join(ROOT, 'package-lock.json');
  const installed = join(ROOT, 'node_modules', '.package-lock.json');
  if (existsSync(installed)) {
    if (statSync(installed).mtimeMs >= statSync(lock).mtimeMs) return;
    if (sameVersions(lock, installed)) return utimesSync(installed, new Date(), new Date());
  }
  step('install', 'dependencies with npm ci', () => {
    const npm = process.env['npm_execpath'];
    return npm?.endsWith('.js') ? run(process.execPath, [npm, 'ci']) : run('npm', ['ci']);
  });
}

/** Whether all that the lockfile asks for is installed; optional packages are for other machines and may be absent. */
function sameVersions(lock, installed) {
  const wanted = JSON.parse(readFileSync(lock, 'utf8')).packages;
  const present = JSON.parse(readFileSync(installed, 'utf8')).packages;
  return Object.entries(wanted).every(([path, { version, optional }]) => {
    if (path === '') return true;
    const found = present[path];
    return found === undefined ? optional === true : found.version === version;
  });
}

function build(force) {
  const files = sourceFiles();
  const fingerprint = fingerprintOf(files);
  if (!force && existsSync(STAMP) && readFileSync(STAMP, 'utf8') === fingerprint) return;
  step('build', `${files.length} source files with tsc`, () =>
    run(process.execPath, [join(ROOT, 'node_modules', 'typescript', 'bin', 'tsc'), '-p', ROOT]),
  );
  removeStaleOutput(files);
  step('bundle', 'the command and its threads with esbuild', () =>
    run(process.execPath, [join(ROOT, 'scripts', 'bundle.mjs')]),
  );
  warm();
  writeFileSync(STAMP, fingerprint);
}

/** Without its caches larder is slower, and nothing else: no reason to fail. */
function warm() {
  run(process.execPath, [join(ROOT, 'bin', 'warm.js')]);
}

function sourceFiles() {
  return SOURCES.flatMap((folder) => filesBelow(join(ROOT, folder))).filter((path) => /\.[cm]?ts$/.test(path));
}

/**
 * Paths, sizes and times, not contents: cheap, and a checkout never changes a file without its time. And whose code
 * caches they are.
 */
function fingerprintOf(files) {
  const hash = createHash('sha256').update(process.version);
  const others = ['tsconfig.json', 'package-lock.json', 'scripts/bundle.mjs', 'bin/load.js', 'bin/warm.js'];
  for (const path of [...files, ...others.map((name) => join(ROOT, name))].sort()) {
    const { size, mtimeMs } = statSync(path);
    hash.update(`${path} ${size} ${mtimeMs}\n`);
  }
  return hash.digest('hex');
}

/** tsc never deletes: without this the test of a deleted source would run for ever. */
function removeStaleOutput(files) {
  const kept = new Set(files.map((path) => relative(ROOT, path).replace(/\.[cm]?ts$/, '')));
  for (const folder of SOURCES) {
    for (const path of filesBelow(join(DIST, folder))) {
      if (!kept.has(relative(DIST, path).replace(/(\.d)?\.[cm]?[jt]s(\.map)?$/, ''))) rmSync(path);
    }
  }
}

export function filesBelow(folder) {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name));
}

function step(name, what, work) {
  process.stderr.write(`${name}: ${what} …\n`);
  const start = Date.now();
  const status = work();
  if (status !== 0) fail(`${name}: failed with status ${status}`, status ?? 1);
  process.stderr.write(`${name}: done in ${((Date.now() - start) / 1000).toFixed(1)} s\n`);
}

/** Runs in the checkout, output goes to the user's standard error; answers the exit status. */
function run(command, args) {
  const { status, error } = spawnSync(command, args, { cwd: ROOT, stdio: ['ignore', 2, 2] });
  if (error !== undefined) fail(`setup: ${command}: ${error.message}`);
  return status;
}

function fail(message, status = 1) {
  process.stderr.write(`${message}\n`);
  process.exit(status);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) setup({ force: process.argv.includes('--force') });
