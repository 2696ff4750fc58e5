#!/usr/bin/env node
'use strict';
/**
 * Makes the code caches of `dist/bundle/` for the Node that runs this: runs the usual commands on a small image in a
 * temporary directory, mounts nothing, and keeps what V8 compiled. A part of the build; to be run again by who owns the
 * package after Node was changed, or larder starts more slowly.
 */
const { mkdtempSync, renameSync, rmSync, writeFileSync } = require('node:fs');
const { tmpdir } = require('node:os');
const { join } = require('node:path');
const { pathToFileURL } = require('node:url');
const threads = require('node:worker_threads');
const { DIST, load } = require('./load.js');

if (threads.isMainThread) void main();
else warmWorker();

async function main() {
  const home = mkdtempSync(join(tmpdir(), 'larder-warm-'));
  for (const name of Object.keys(process.env)) if (/^(LARDER|XDG|DOCKER)_/.test(name)) delete process.env[name];
  process.env['HOME'] = home;
  // The bundle looks for its threads' class here each time that it starts one.
  threads.Worker = class extends threads.Worker {
    constructor(_entry, options) {
      super(__filename, options);
    }
  };
  let keep = () => {};
  const command = load('command', (script, seal) => {
    keep = () => write('command', seal(script.createCachedData()));
  });
  try {
    if (command === undefined) throw new Error('dist/bundle is missing or older than dist: run npm run build');
    await runCommands(command, home);
    keep();
  } catch (error) {
    process.stderr.write(`warm: no code cache: ${error instanceof Error ? error.message : error}\n`);
    process.exitCode = 1;
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
}

async function runCommands(command, home) {
  const { buildImage, sampleLayer, startRegistry } = await import(
    pathToFileURL(join(DIST, 'src', 'testing', 'index.js')).href
  );
  const image = buildImage({ layers: [{ tar: sampleLayer('warm', 100_000) }] });
  const registry = await startRegistry();
  const said = [];
  for (const stream of [process.stdout, process.stderr]) {
    stream.setMaxListeners(0);
    stream.write = (text) => said.push(text) > 0;
  }
  const settings = ['--root', join(home, 'store'), '--socket', 'none', '--max-parallel-layers', '1'];
  const run = async (...args) => {
    const status = await command.main([...settings, ...args]);
    if (status !== 0) throw new Error(`larder ${args.join(' ')}: status ${status}: ${said.join('')}`);
  };
  try {
    registry.addImage({ ...image, name: 'warm' });
    const reference = `${registry.host}/warm`;
    await run('pull', reference);
    await run('pull', reference);
    await run('pull', '--refresh', reference);
    await run('images');
    await run('provision', reference, '--id', 'warm', '--backend', 'copy');
    await run('containers');
    await run('destroy', 'warm');
    await run('remove', reference);
  } finally {
    for (const stream of [process.stdout, process.stderr]) delete stream.write;
    await registry.close();
  }
}

/** Each thread adds to what those before it compiled. */
function warmWorker() {
  const { parentPort } = threads;
  const post = parentPort.postMessage;
  load('worker', (script, seal) => {
    parentPort.postMessage = function (message, transfer) {
      if (message.type === 'settled') write('worker', seal(script.createCachedData()));
      return post.call(this, message, transfer);
    };
  });
}

function write(name, bytes) {
  const path = join(DIST, 'bundle', `${name}.cjs.cache`);
  const temporary = `${path}.${process.pid}.tmp`;
  writeFileSync(temporary, bytes);
  renameSync(temporary, path);
}
