import * as v from 'valibot';
import { type ErrorCode, LarderError } from '../errors.js';

/** Narrows foreign data by a schema, or rejects with one sentence that names the first place that is wrong. */
export function assertShape<S extends v.GenericSchema>(
  schema: S,
  value: unknown,
  doing: string,
  code: ErrorCode,
): v.InferOutput<S> {
  // To valibot a list is an object like any other.
  if (Array.isArray(value)) throw new LarderError(code, `${doing}: a list instead of an object`);
  const result = v.safeParse(schema, value, { abortEarly: true });
  if (result.success) return result.output;
  const [issue] = result.issues;
  const where = v.getDotPath(issue);
  const path = where === null ? '' : `${where.slice(0, 200)}: `;
  throw new LarderError(code, `${doing}: ${path}${issue.message.slice(0, 300)}`);
}

/** An array that may be missing or null, as Go writes empty ones. */
export function listOf<const S extends v.GenericSchema>(item: S) {
  return v.nullish(v.array(item), []);
}

/** The same of at most `max` items, called `items`; a longer one is refused before its items are looked at. */
export function shortListOf<const S extends v.GenericSchema>(item: S, max: number, items: string) {
  const isShort = v.check((value) => !Array.isArray(value) || value.length <= max, `more than ${max} ${items}`);
  return v.nullish(v.pipe(v.unknown(), isShort, v.array(item)), []);
}

/** An object used as a map, that may be missing or null. */
export function mapOf<const S extends v.GenericSchema>(item: S) {
  const notAList = v.check((value: unknown) => !Array.isArray(value), 'a list instead of an object');
  return v.nullish(v.pipe(v.unknown(), notAList, v.record(v.string(), item)), {});
}

/** A text that may be missing or null. */
export const optionalText = v.nullish(v.string(), '');
