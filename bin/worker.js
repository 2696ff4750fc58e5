'use strict';
/** What a worker thread runs. */
const { join } = require('node:path');
const { pathToFileURL } = require('node:url');
const { DIST, load } = require('./load.js');

if (load('worker') === undefined) void import(pathToFileURL(join(DIST, 'src', 'assemble-worker.js')).href);
