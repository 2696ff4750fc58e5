/** `node --import`: koffi cannot be loaded, neither by import nor by require, in this thread or in others. */
import Module, { register } from 'node:module';

const HOOKS = `export async function resolve(specifier, context, next) {
  if (specifier === 'koffi') throw new Error('koffi is not installed here');
  return next(specifier, context);
}`;
register(`data:text/javascript,${encodeURIComponent(HOOKS)}`);

const hidden = Module as unknown as { _resolveFilename: (request: string, ...rest: unknown[]) => string };
const resolve = hidden._resolveFilename;
hidden._resolveFilename = (request, ...rest) => {
  if (request === 'koffi') throw new Error('koffi is not installed here');
  return resolve.call(Module, request, ...rest);
};
