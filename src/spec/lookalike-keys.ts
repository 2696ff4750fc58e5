/**
 * A key that is one of `known` but for the case of its letters. Go's encoding/json, by which nearly all others read these
 * documents, takes it for the same key, and the last one counts: what a scanner or another store saw would not be what we
 * see.
 */
export function lookalikeKey(object: unknown, known: readonly string[]): string | undefined {
  if (typeof object !== 'object' || object === null) return undefined;
  return Object.keys(object).find((key) => !known.includes(key) && known.some((name) => fold(name) === fold(key)));
}

/** As Go folds: the long s is an s, the Kelvin sign a k. */
function fold(key: string): string {
  return key.toUpperCase().toLowerCase();
}
