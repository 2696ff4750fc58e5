/** The store that a command line means: opened here, or behind the daemon that has it; each at most once. */
import { type Flags, loadFlags, type RawFlags, SETTINGS, type SettingName } from '../config.js';
import type { OnEvent } from '../events.js';
import type { Larder } from '../larder.js';
import type { LarderApi } from '../larder-api.js';

export class Stores {
  readonly #options: Readonly<Record<string, unknown>>;
  readonly #onEvent: OnEvent;
  #flags: Flags | undefined;
  #here: Promise<Larder> | undefined;
  #any: Promise<LarderApi> | undefined;

  constructor(options: Readonly<Record<string, unknown>>, onEvent: OnEvent) {
    this.#options = options;
    this.#onEvent = onEvent;
  }

  /** Settings of files, variables and options. Rejects (throws) LARDER_FLAGS_INVALID. */
  flags(): Flags {
    this.#flags ??= loadFlags(settingsOf(this.#options));
    return this.#flags;
  }

  /** Opened in this process, for what needs its files. */
  here(): Promise<Larder> {
    this.#here ??= this.#open();
    return this.#here;
  }

  /** Behind the daemon when one serves this store with these settings, else opened here. */
  any(): Promise<LarderApi> {
    this.#any ??= this.#findOrOpen();
    return this.#any;
  }

  async close(): Promise<void> {
    // A store that could not be opened has been reported to who asked for it.
    await this.#here?.then(
      (opened) => opened.close(),
      () => undefined,
    );
  }

  async #findOrOpen(): Promise<LarderApi> {
    if (this.#here !== undefined) return this.#here;
    const { findDaemon } = await import('../daemon/remote-larder.js');
    // Who named the socket on this command line wants to know why it was of no use.
    const type = this.#options['socket'] === undefined ? 'debug' : 'warning';
    const found = await findDaemon(this.flags(), (message) =>
      this.#onEvent(type === 'warning' ? { type, message } : { type, scope: 'daemon', message }),
    );
    return found ?? this.here();
  }

  async #open(): Promise<Larder> {
    const flags = this.flags();
    const { openConfigured } = await import('../larder.js');
    return openConfigured(flags, { onEvent: this.#onEvent });
  }
}

function settingsOf(options: Readonly<Record<string, unknown>>): RawFlags {
  const given: Partial<Record<SettingName, unknown>> = {};
  for (const name of Object.keys(SETTINGS) as SettingName[]) {
    const value = options[name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase())];
    if (value !== undefined) given[name] = value;
  }
  return given;
}
