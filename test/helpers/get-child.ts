/** `get-child ROOT IMAGE`: gets one image, given as JSON, and ends. */
import { Assembly } from '../../src/assemble.js';
import { configOf } from '../../src/config.js';
import type { Image } from '../../src/spec/image.js';

const [root = '', text = ''] = process.argv.slice(2);
const image: Image = JSON.parse(text);
const assembly = await Assembly.open(configOf({ root }));
await (await assembly.docker()).get(image, 'copy');
await assembly.close();
