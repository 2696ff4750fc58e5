import { type ErrorCode, LarderError } from '../errors.js';

/** Nesting that no real manifest, config or index comes near; deeper documents are attacks on a parser's stack. */
const MAX_DEPTH = 64;

export interface JsonLimits {
  /** For messages: `manifest: docker.io/library/alpine:latest`. */
  readonly doing: string;
  readonly maxBytes: number;
  /** The code to reject with. */
  readonly code: ErrorCode;
}

/**
 * Parses JSON that somebody else wrote, such that no two readers can understand it differently: valid UTF-8 without a
 * byte order mark (RFC 8259, 8.1), no object with a key twice, no key `__proto__`, at most 64 levels. What is
 * returned has only own plain properties. Numbers are checked where they are used: an integer that a double cannot
 * hold is not a safe integer.
 */
export function parseJson(bytes: Uint8Array, limits: JsonLimits): unknown {
  const refuse = (why: string, cause?: unknown): LarderError =>
    new LarderError(limits.code, `${limits.doing}: ${why}`, cause === undefined ? {} : { cause });
  if (bytes.byteLength > limits.maxBytes) {
    throw refuse(`${bytes.byteLength} bytes are more than the limit of ${limits.maxBytes}`);
  }
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    throw refuse('not valid UTF-8', error);
  }
  if (text.startsWith('\ufeff')) throw refuse('starts with a byte order mark');
  // Depth comes before JSON.parse, keys after it: only then may the scanner rely on the grammar.
  if (deepest(text) > MAX_DEPTH) throw refuse(`nested deeper than ${MAX_DEPTH} levels`);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw refuse('not valid JSON', error);
  }
  const key = badKey(text);
  if (key !== undefined) {
    throw refuse(
      key === '__proto__' ? 'has a key "__proto__"' : `has the key ${JSON.stringify(key.slice(0, 80))} twice`,
    );
  }
  return value;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;

/** The deepest nesting of brackets outside strings, counted without assuming that the text is JSON. */
function deepest(text: string): number {
  let depth = 0;
  let max = 0;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === QUOTE) i = endOfString(text, i);
    else if (c === 0x5b || c === 0x7b) max = Math.max(max, ++depth);
    else if (c === 0x5d || c === 0x7d) depth--;
  }
  return max;
}

/** The first repeated or forbidden key of a valid JSON text. */
function badKey(text: string): string | undefined {
  const open: (Set<string> | undefined)[] = [];
  let expectKey = false;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    const keys = open[open.length - 1];
    if (c === QUOTE) {
      const end = endOfString(text, i);
      if (expectKey && keys !== undefined) {
        // `"\u0061"` and `"a"` are the same key.
        const key = String(JSON.parse(text.slice(i, end + 1)));
        if (key === '__proto__' || keys.has(key)) return key;
        keys.add(key);
      }
      expectKey = false;
      i = end;
    } else if (c === 0x7b) {
      open.push(new Set());
      expectKey = true;
    } else if (c === 0x5b) {
      open.push(undefined);
      expectKey = false;
    } else if (c === 0x5d || c === 0x7d) {
      open.pop();
      expectKey = false;
    } else if (c === 0x2c) {
      expectKey = keys !== undefined;
    }
  }
  return undefined;
}

/** The index of the quote that ends the string which starts at `start`; the text's length when none does. */
function endOfString(text: string, start: number): number {
  for (let i = start + 1; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === BACKSLASH) i++;
    else if (c === QUOTE) return i;
  }
  return text.length;
}
