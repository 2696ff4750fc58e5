/** `appc-get-child FLAGS IMAGE`, both as JSON: gets one Appc image, and ends. */
import { Assembly } from '../../src/assemble.js';
import { configOf, type Flags } from '../../src/config.js';
import type { Image } from '../../src/spec/image.js';

const [flagText = '', imageText = ''] = process.argv.slice(2);
const flags: Flags = JSON.parse(flagText);
const image: Image = JSON.parse(imageText);
const assembly = await Assembly.open(configOf(flags));
await (await assembly.storeOf(image.type)).get(image, 'copy');
await assembly.close();
