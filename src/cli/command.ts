/** What a command is given and what it answers. Commands print nothing: `render.ts` is the only console. */
import type { Flags } from '../config.js';
import type { OnEvent } from '../events.js';
import type { Larder } from '../larder.js';
import type { LarderApi } from '../larder-api.js';

export interface CommandContext {
  /** The store, behind the daemon that has it or opened here: for all that needs no file of it. */
  readonly open: () => Promise<LarderApi>;
  /** The store opened in this process, once, at the first call. */
  readonly larder: () => Promise<Larder>;
  /** Settings of files, variables and options. */
  readonly flags: () => Flags;
  /** A line for the log of something that runs on. */
  readonly log: (line: string) => void;
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

/** What runs until a signal waits for it. */
export function fired(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => resolve(), { once: true });
  });
}
