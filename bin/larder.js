#!/usr/bin/env node
'use strict';
const { existsSync } = require('node:fs');
const { availableParallelism } = require('node:os');
const { join } = require('node:path');
const { pathToFileURL } = require('node:url');
const { DIST, load } = require('./load.js');

// Layers are inflated and written on libuv's pool, whose four threads are made when it is first used: here at the latest.
if (availableParallelism() > 4) process.env.UV_THREADPOOL_SIZE ??= String(Math.min(availableParallelism(), 16));

const bundled = load('command');
if (bundled !== undefined) start(bundled);
else void import(pathToFileURL(builtModule()).href).then(start);

function start({ main }) {
  void main(process.argv.slice(2)).then((status) => {
    process.exitCode = status;
  });
}

function builtModule() {
  const module = join(DIST, 'src', 'cli', 'main.js');
  if (existsSync(module)) return module;
  process.stderr.write('larder: this checkout is not built yet\n  run: npm run build\n');
  process.exit(70);
}
