/** As much of OpenPGP (RFC 4880) as it takes to hand gpgv what it expects, and nothing else. */

export type ArmorKind = 'PUBLIC KEY BLOCK' | 'SIGNATURE';

const SIGNATURE_PACKET = 2;
/** Public key, user id, subkey, user attribute, their signatures, trust and markers (RFC 4880, 4.3). */
const KEY_PACKETS = new Set([6, 13, 14, 17, SIGNATURE_PACKET, 12, 10]);
const PUBLIC_KEY_PACKET = 6;

/** Whether bytes are text in ASCII armour, of whatever kind. */
export function isArmored(bytes: Uint8Array): boolean {
  return Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.byteLength, 64 * 1024)).includes('-----BEGIN PGP ');
}

/**
 * The packets in all blocks of a kind (RFC 4880, 6.2), joined; undefined where there is none, or where there is a block
 * of another kind. The checksum is not looked at: what it protects is verified otherwise.
 */
export function dearmor(bytes: Uint8Array, kind: ArmorKind): Buffer | undefined {
  const blocks: Buffer[] = [];
  let lines: string[] | undefined;
  let inHeaders = false;
  for (const line of Buffer.from(bytes).toString('latin1').split(/\r?\n/)) {
    const text = line.trimEnd();
    if (text.startsWith('-----BEGIN PGP ')) {
      if (text !== `-----BEGIN PGP ${kind}-----` || lines !== undefined) return undefined;
      lines = [];
      inHeaders = true;
    } else if (lines === undefined) {
      // Outside the blocks anything may be written.
    } else if (text === `-----END PGP ${kind}-----`) {
      blocks.push(Buffer.from(lines.join(''), 'base64'));
      lines = undefined;
    } else if (inHeaders) {
      if (text === '') inHeaders = false;
      else if (!text.includes(':')) return undefined;
    } else if (!text.startsWith('=')) {
      if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text)) return undefined;
      lines.push(text);
    }
  }
  return lines !== undefined || blocks.length === 0 ? undefined : Buffer.concat(blocks);
}

/** Whether these are public keys: no secret ones, no message, nothing behind them. */
export function isKeyring(packets: Uint8Array): boolean {
  const tags = packetTags(packets);
  return tags !== undefined && tags[0] === PUBLIC_KEY_PACKET && tags.every((tag) => KEY_PACKETS.has(tag));
}

/** Whether these are signatures alone: not a message that brings what it signs along. */
export function isDetachedSignature(packets: Uint8Array): boolean {
  const tags = packetTags(packets);
  return tags !== undefined && tags.length > 0 && tags.every((tag) => tag === SIGNATURE_PACKET);
}

/** The tags of a row of packets (RFC 4880, 4.2); undefined where it is not one, or a packet has no definite length. */
function packetTags(packets: Uint8Array): number[] | undefined {
  const bytes = Buffer.from(packets.buffer, packets.byteOffset, packets.byteLength);
  const tags: number[] = [];
  for (let i = 0; i < bytes.length; ) {
    const header = readHeader(bytes, i);
    if (header === undefined || header.end > bytes.length) return undefined;
    tags.push(header.tag);
    i = header.end;
  }
  return tags;
}

function readHeader(bytes: Buffer, at: number): { readonly tag: number; readonly end: number } | undefined {
  const first = bytes.readUInt8(at);
  if ((first & 0x80) === 0) return undefined;
  const isNew = (first & 0x40) !== 0;
  const tag = isNew ? first & 0x3f : (first >> 2) & 0x0f;
  const octets = isNew ? newLengthOctets(bytes, at + 1) : [1, 2, 4, undefined][first & 3];
  if (octets === undefined || at + 1 + octets > bytes.length) return undefined;
  return { tag, end: at + 1 + octets + lengthOf(bytes, at + 1, octets, isNew) };
}

/** RFC 4880, 4.2.2; partial lengths are for messages alone. */
function newLengthOctets(bytes: Buffer, at: number): 1 | 2 | 5 | undefined {
  const first = at < bytes.length ? bytes.readUInt8(at) : 224;
  if (first < 192) return 1;
  if (first < 224) return 2;
  return first === 255 ? 5 : undefined;
}

function lengthOf(bytes: Buffer, at: number, octets: number, isNew: boolean): number {
  if (isNew && octets === 2) return ((bytes.readUInt8(at) - 192) << 8) + bytes.readUInt8(at + 1) + 192;
  return isNew && octets === 5 ? bytes.readUInt32BE(at + 1) : bytes.readUIntBE(at, octets);
}
