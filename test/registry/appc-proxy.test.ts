/** Appc images through proxies: discovery, the image and its signature, by names that only the proxy can find. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, describe, it } from 'node:test';
import { AciFetcher } from '../../src/registry/appc-fetch.js';
import { proxiesOf } from '../../src/registry/hosts/proxy.js';
import { appcRequestOf, parseAppcName } from '../../src/spec/appc-name.js';
import { hostPlatform } from '../../src/spec/platform.js';
import { aciFileName, buildAci } from '../../src/testing/aci-builder.js';
import { startConnectProxy, startSocksProxy, type TestProxy } from '../helpers/proxies.js';
import { makeDirectory, removeDirectory } from '../helpers/temporary.js';
import { AppcServer } from './appc-server.js';

const home = makeDirectory();
after(() => removeDirectory(home));

const LOGIN = { username: 'me', password: 'p@ss' };
const PROXIES: Readonly<Record<string, (login: typeof LOGIN) => Promise<TestProxy>>> = {
  http: (login) => startConnectProxy({ login }),
  socks5: (login) => startSocksProxy({ login }),
  socks5h: (login) => startSocksProxy({ login }),
};

describe('an Appc image', () => {
  for (const [scheme, start] of Object.entries(PROXIES)) {
    it(`is found and fetched through a ${scheme} proxy that wants a login`, async () => {
      await using proxy = await start(LOGIN);
      await using server = await AppcServer.start();
      const aci = buildAci({ name: 'acis.example/app', labels: { version: '1.0' } });
      const template = `http://acis.example:${server.port}/{name}-{version}-{os}-{arch}.{ext}`;
      server.routes.set(
        '/app',
        `<html><head><meta name="ac-discovery" content="acis.example ${template}"></head></html>`,
      );
      server.routes.set(`/${aciFileName(aci)}`, aci.bytes);
      const fetcher = new AciFetcher({
        insecureRegistries: ['acis.example', `acis.example:${server.port}`],
        discoveryPort: server.port,
        proxyFor: proxiesOf({ all_proxy: `${scheme}://me:p%40ss@${proxy.host}` }),
        timeouts: { backoffMs: 2, stallMs: 5000, connectMs: 5000 },
      });
      const request = appcRequestOf(parseAppcName('appc:acis.example/app:1.0'), hostPlatform());
      const { path } = await fetcher.fetch(request, mkdtempSync(join(home, 'work-')), {});
      assert.deepEqual(readFileSync(path), Buffer.from(aci.bytes));
      assert.deepEqual([...new Set(proxy.asked)], [`acis.example:${server.port}`]);
    });
  }
});
