/** One challenge of a `WWW-Authenticate` header (RFC 9110, 11.6.1). Names are lower case. */
export interface Challenge {
  readonly scheme: string;
  readonly parameters: Readonly<Record<string, string>>;
}

const MAX_HEADER = 8192;
const SEPARATOR = /[\s,]*/y;
const TOKEN = /[!#$%&'*+\-.^_`|~0-9A-Za-z]+/y;
const VALUE = /\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([!#$%&'*+\-.^_`|~0-9A-Za-z:/]+))/y;

/** All challenges of the header, in order; nothing for what cannot be read. */
export function parseChallenges(header: string): readonly Challenge[] {
  const challenges: { scheme: string; parameters: Record<string, string> }[] = [];
  const text = header.slice(0, MAX_HEADER);
  let position = 0;
  const match = (pattern: RegExp): RegExpExecArray | null => {
    pattern.lastIndex = position;
    const found = pattern.exec(text);
    if (found !== null) position = pattern.lastIndex;
    return found;
  };
  while (position < text.length) {
    match(SEPARATOR);
    const token = match(TOKEN)?.[0].toLowerCase();
    if (token === undefined) {
      position++;
      continue;
    }
    const value = match(VALUE);
    if (value === null) {
      // `Negotiate abc==`: the blob after a scheme is not the next scheme.
      if (text[position] !== '=') challenges.push({ scheme: token, parameters: Object.create(null) });
    } else {
      const last = challenges[challenges.length - 1];
      if (last !== undefined) last.parameters[token] = value[1]?.replace(/\\(.)/g, '$1') ?? value[2] ?? '';
    }
  }
  return challenges;
}
