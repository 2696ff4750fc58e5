/** Servers quote what they were sent, in messages that people put into logs and tickets. */

export interface SentRequest {
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  /** A form. */
  readonly body?: string | undefined;
  /** Values of `Authorization` that the same host, or its token server, was sent before. */
  readonly logins?: readonly string[];
}

/** Shorter texts are words of many messages, and no secrets. */
const MIN_SECRET = 6;
/** Their values are the same for everybody. */
const PUBLIC_HEADERS = new Set(['accept', 'user-agent', 'range', 'if-range', 'content-type', 'content-length', 'host']);
/** Of a form or a query: what a token server is asked for. */
const PUBLIC_FIELDS = new Set([
  'grant_type',
  'service',
  'scope',
  'client_id',
  'access_type',
  'account',
  'username',
  'ns',
]);

/** The text without anything that only the sender of the request could have told, and without what looks like a login. */
export function withoutSecrets(text: string, sent: SentRequest | undefined): string {
  const secrets = sent === undefined ? [] : secretsOf(sent).sort((a, b) => b.length - a.length);
  return secrets
    .reduce((left, secret) => left.replaceAll(secret, '…'), text)
    .replace(/\b(Bearer|Basic)\s+\S+/gi, '$1 …')
    .replace(/\?\S*/g, '');
}

function secretsOf({ url, headers, body = '', logins = [] }: SentRequest): string[] {
  const own = Object.entries(headers).flatMap(([name, value]) =>
    PUBLIC_HEADERS.has(name.toLowerCase()) ? [] : [value],
  );
  const values = [...own, ...logins].flatMap((value) => [
    value,
    ...value.split(/[\s;,]+|(?<==)(?!=)/),
    ...loginIn(value),
  ]);
  const fields = [url.search.slice(1), body].flatMap(fieldsOf);
  const secrets = [...values, ...fields];
  return [...new Set([...secrets, ...secrets.map(encoded)])].filter((value) => value.length >= MIN_SECRET);
}

/** As they are, and as they were sent: there is more than one way to encode them. */
function fieldsOf(query: string): string[] {
  return query.split('&').flatMap((pair) => {
    const [[name, value] = ['', '']] = new URLSearchParams(pair);
    const asSent = pair.slice(pair.indexOf('=') + 1);
    return PUBLIC_FIELDS.has(name) ? [] : [value, asSent];
  });
}

/** Half a character has no encoding. */
function encoded(text: string): string {
  return encodeURIComponent(Buffer.from(text).toString());
}

/** What Basic says in base64. */
function loginIn(value: string): string[] {
  const encoded = /^Basic\s+(\S+)$/i.exec(value)?.[1];
  if (encoded === undefined) return [];
  const login = Buffer.from(encoded, 'base64').toString();
  return [login, login.slice(login.indexOf(':') + 1)];
}
