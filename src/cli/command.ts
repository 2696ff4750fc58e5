/** What a command is given and what it answers. Commands print nothing: `render.ts` is the only console. */
import type { OnEvent } from '../events.js';
import type { Larder } from '../larder.js';

export interface CommandContext {
  /** The open store; opened once, at the first call. */
  readonly larder: () => Promise<Larder>;
  readonly onEvent: OnEvent;
  readonly signal: AbortSignal;
  /** Takes progress bars away before something else writes to the terminal. */
  readonly quiet: () => void;
}

export interface CommandResult {
  /** For `--json`. */
  readonly data?: unknown;
  /** For people; without a trailing newline. */
  readonly text?: string;
  /** Raw bytes, instead of either. */
  readonly bytes?: AsyncIterable<Uint8Array>;
  /** Default 0. */
  readonly exitCode?: number;
}

export type Command = (
  context: CommandContext,
  args: readonly string[],
  options: Readonly<Record<string, unknown>>,
) => Promise<CommandResult>;

/** An option that is a text, or undefined. */
export function textOption(options: Readonly<Record<string, unknown>>, name: string): string | undefined {
  const value = options[name];
  return typeof value === 'string' ? value : undefined;
}

export function listOption(options: Readonly<Record<string, unknown>>, name: string): readonly string[] {
  const value = options[name];
  return Array.isArray(value) ? value.filter((item) => typeof item === 'string') : [];
}

/** The platform setting as a request's member. */
export function platformOption(options: Readonly<Record<string, unknown>>): { readonly platform?: string } {
  const platform = textOption(options, 'platform');
  return platform === undefined ? {} : { platform };
}
