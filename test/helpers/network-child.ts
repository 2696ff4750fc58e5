/** `network-child ROOT REGISTRIES_CONF IMAGE`: pulls one image and writes what happens to its network, a JSON text a line. */
import { openLarder } from '../../src/index.js';

const [root = '', registries_conf = '', image = ''] = process.argv.slice(2);
await using larder = await openLarder({
  root,
  registries_conf,
  registry_certs_dir: 'none',
  docker_config: '{"auths":{}}',
});
await using _pulled = await larder.pull(image, {
  onEvent: (event) => {
    if (['rate-limit', 'mirror', 'retry', 'warning'].includes(event.type))
      process.stdout.write(`${JSON.stringify(event)}\n`);
  },
});
