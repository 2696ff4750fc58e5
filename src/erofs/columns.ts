/**
 * Elements of columns whose bounds the caller has established. One function for each type of array: a single one for
 * all would see so many types that the engine no longer compiles it to a plain load, at twice the time per inode.
 */
export function u16(column: Uint16Array, i: number): number {
  return column[i] as number;
}

export function u32(column: Uint32Array, i: number): number {
  return column[i] as number;
}

export function f64(column: Float64Array, i: number): number {
  return column[i] as number;
}
