/**
 * CRC-32C (Castagnoli) as the kernel's `crc32c(seed, …)` computes it: no inversion before or after, so a caller that
 * wants the usual one starts with and inverts by 0xffffffff.
 */
export function crc32c(seed: number, bytes: Uint8Array): number {
  let crc = seed;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
  }
  return crc >>> 0;
}
