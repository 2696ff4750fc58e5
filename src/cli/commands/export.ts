import { LarderError } from '../../errors.js';
import type { ExportReport } from '../../store/archives/export.js';
import { parseExportTarget } from '../../store/archives/export-target.js';
import { type Command, platformOption } from '../command.js';
import { formatBytes, shortDigest } from '../format.js';
import { registryConfigOption } from '../registry-config.js';

/** `larder export REF TARGET` */
export const exportImage: Command = async (context, [reference = '', target = ''], options) => {
  const { larder, onEvent, signal, quiet } = context;
  const refresh = options['refresh'] === true;
  const own = await registryConfigOption(options);
  const request = { onEvent, signal, cached: !refresh, ...platformOption(options), ...own };
  const isStream = parseExportTarget(target, process.cwd()).path === undefined;
  if (isStream && process.stdout.isTTY === true) {
    throw new LarderError('LARDER_REQUEST_INVALID', `export to ${target}: standard output is a terminal`, {
      hint: 'name a file, or send the output somewhere: larder export … docker-archive:- | podman load',
    });
  }
  const store = await larder();
  if (isStream) {
    quiet();
    return { bytes: store.exportStream(reference, target, request) };
  }
  const report = await store.export(reference, target, request);
  return { data: report, text: sentences(report).join('\n') };
};

function sentences({ path, bytes, imageId, names, manifest, rewritten }: ExportReport): string[] {
  const called = names.length === 0 ? '' : ` as ${names.join(' and ')}`;
  const first = `${path}: image ${shortDigest(imageId)}${called}, ${formatBytes(bytes)}`;
  if (manifest === undefined || !rewritten) return [first];
  return [first, `its layers are uncompressed under a new manifest, ${manifest}; the image ID is the same`];
}
