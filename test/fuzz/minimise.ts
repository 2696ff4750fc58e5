/** A shorter input that still fails: cuts pieces out, the largest first, then makes bytes plain. */
export async function minimise(
  input: Buffer,
  fails: (candidate: Buffer) => Promise<boolean>,
  maxTries = 3000,
  maxMs = 60_000,
): Promise<Buffer> {
  const end = performance.now() + maxMs;
  let best = input;
  let tries = 0;
  const take = async (candidate: Buffer): Promise<boolean> => {
    if (performance.now() > end) tries = maxTries;
    if (tries++ >= maxTries || !(await fails(candidate))) return false;
    best = candidate;
    return true;
  };
  for (let piece = best.length >> 1; piece >= 1; piece >>= 1) {
    for (let at = 0; at < best.length && tries < maxTries; ) {
      const cut = Buffer.concat([best.subarray(0, at), best.subarray(at + piece)]);
      if (!(await take(cut))) at += piece;
    }
  }
  for (let at = 0; at < best.length && tries < maxTries; at++) {
    if (best[at] === 0x61) continue;
    const plain = Buffer.from(best);
    plain[at] = 0x61;
    await take(plain);
  }
  return best;
}
