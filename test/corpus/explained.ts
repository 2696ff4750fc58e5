/** ▸ Whether a refusal says what it is about: of an entry of a layer which it is, or where; else which document, or which file. */

const OF_LAYERS = ['LARDER_LAYER_INVALID', 'LARDER_LAYER_LIMIT', 'LARDER_ENTRY_UNSUPPORTED', 'LARDER_LAYER_CORRUPT'];

/** Where its header is, and its name as far as it is known; where layers are put together, its name and the layer's number. */
const ENTRY = /, (?:entry .+ )?at byte \d+: |\b(?:hardlink|directory) ".*" of layer \d+: |\bentry ".*": /s;
/** The layer as a whole: how it is compressed, how much there is of it, what is not in it. */
const LAYER =
  /\b(?:inflating|reading) layer: (?:sha256:[0-9a-f]{64}|\/.*): |: the layer at byte \d+ |^pull appc:.*: it has no /s;
/** *What larder was doing*: *which*: *what was wrong*, where the second may be part of the first, as in `read archive PATH`. */
const THING = /^[^:]*[:/].*: ./s;
/** Documents in archives and layouts: which of them it is, besides where they all lie. */
const IN_ARCHIVE = /^read (?:archive|layout) \S+: (.*)$/s;
const DOCUMENT = /sha256[:/]|"|\.json\b|\boci-layout\b|\brepositories\b|\blayer|\bimage|\bconfig\b/;

/** What is missing, one line at most. */
export function unexplained(code: string, message: string): string[] {
  if (OF_LAYERS.includes(code)) {
    return ENTRY.test(message) || LAYER.test(message) ? [] : [`names neither an entry nor a layer: ${message}`];
  }
  const [, inside] = IN_ARCHIVE.exec(message) ?? [];
  if (inside !== undefined && !DOCUMENT.test(inside)) return [`does not say what in the archive: ${message}`];
  return THING.test(message) ? [] : [`does not say to which thing it happened: ${message}`];
}
