/** nginx that ends TLS in front of registries, as they are run. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Pair } from '../helpers/certificates.js';
import { freePort } from './docker-registry.js';

export class Nginx implements AsyncDisposable {
  /** One for each server, at 127.0.0.1 and ::1 alike. */
  readonly ports: readonly number[];
  readonly #process: ChildProcess;

  private constructor(ports: readonly number[], process: ChildProcess) {
    this.ports = ports;
    this.#process = process;
  }

  /** `servers`: what is in the `server` block of each. */
  static async start(directory: string, certificate: Pair, servers: readonly string[]): Promise<Nginx> {
    mkdirSync(directory, { recursive: true });
    const ports: number[] = [];
    for (const _ of servers) ports.push(await freePort());
    const blocks = servers.map(
      (text, i) => `server { listen 127.0.0.1:${ports[i]} ssl; listen [::1]:${ports[i]} ssl; ${text} }`,
    );
    writeFileSync(
      `${directory}/nginx.conf`,
      `daemon off; pid ${directory}/pid; error_log stderr; worker_processes 1;
      events { worker_connections 128; }
      http {
        access_log off; client_body_temp_path ${directory}/a; proxy_temp_path ${directory}/b;
        fastcgi_temp_path ${directory}/c; uwsgi_temp_path ${directory}/d; scgi_temp_path ${directory}/e;
        ssl_certificate ${certificate.certFile}; ssl_certificate_key ${certificate.keyFile};
        proxy_set_header Host $http_host; proxy_set_header X-Forwarded-Proto https; proxy_buffering off;
        ${blocks.join('\n')}
      }`,
    );
    const child = spawn('nginx', ['-p', directory, '-c', `${directory}/nginx.conf`, '-e', 'stderr'], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { PATH: `${process.env['PATH']}:/usr/sbin` },
    });
    let said = '';
    child.stderr.on('data', (chunk: Buffer) => {
      said += chunk.toString();
    });
    for (let tries = 0; tries < 200 && child.exitCode === null; tries++) {
      if (await answers(ports.at(-1))) return new Nginx(ports, child);
      await sleep(50);
    }
    child.kill();
    throw new Error(`nginx: ends with ${child.exitCode} or does not answer: ${said}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#process.exitCode !== null) return;
    const ended = once(this.#process, 'exit');
    this.#process.kill();
    await ended;
  }
}

/** Plain HTTP on a port for TLS: nginx says so. */
async function answers(port: number | undefined): Promise<boolean> {
  try {
    await fetch(`http://127.0.0.1:${port}/`);
    return true;
  } catch {
    return false;
  }
}
