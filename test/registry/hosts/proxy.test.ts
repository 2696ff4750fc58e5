import assert from 'node:assert/strict';
import { test } from 'node:test';
import { proxiesOf, proxyName } from '../../../src/registry/hosts/proxy.js';

function proxyFor(env: Readonly<Record<string, string>>, url: string): string | undefined {
  const proxy = proxiesOf(env)(new URL(url));
  return proxy === undefined ? undefined : proxyName(proxy);
}

test('each scheme has its variable, and ALL_PROXY is for what has none', () => {
  const env = { HTTPS_PROXY: 'http://s:1', ALL_PROXY: 'socks5://all:1080' };
  assert.equal(proxyFor(env, 'https://quay.io/'), 's:1');
  assert.equal(proxyFor(env, 'http://quay.io/'), 'all:1080');
  assert.equal(proxyFor({}, 'https://quay.io/'), undefined);
});

test('lower case comes first, an empty variable is none, and a scheme may be left out', () => {
  assert.equal(proxyFor({ https_proxy: 'low:1', HTTPS_PROXY: 'http://up:1' }, 'https://quay.io/'), 'low:1');
  assert.equal(proxyFor({ https_proxy: '', HTTPS_PROXY: 'http://up:1' }, 'https://quay.io/'), 'up:1');
});

test('HTTP_PROXY is what a stranger may have said where a web server runs us', () => {
  assert.equal(proxyFor({ HTTP_PROXY: 'http://up:1' }, 'http://quay.io/'), 'up:1');
  assert.equal(proxyFor({ HTTP_PROXY: 'http://up:1', REQUEST_METHOD: 'GET' }, 'http://quay.io/'), undefined);
  assert.equal(proxyFor({ http_proxy: 'http://low:1', REQUEST_METHOD: 'GET' }, 'http://quay.io/'), 'low:1');
});

test('loopback never goes through a proxy', () => {
  for (const host of ['localhost', '127.0.0.1', '127.9.9.9', '[::1]', 'a.localhost'])
    assert.equal(proxyFor({ ALL_PROXY: 'http://p:1' }, `http://${host}:5000/`), undefined, host);
});

for (const [list, exempt, proxied] of [
  ['*', ['https://quay.io/', 'http://10.0.0.1/'], []],
  ['example.com', ['https://example.com/', 'https://a.b.example.com/'], ['https://badexample.com/', 'https://com/']],
  ['.example.com', ['https://a.example.com/'], ['https://example.com/']],
  ['*.example.com', ['https://a.example.com/'], ['https://example.com/']],
  ['Example.COM:5000', ['https://example.com:5000/'], ['https://example.com/']],
  ['example.com:443', ['https://example.com/'], ['http://example.com/']],
  ['10.0.0.0/8, quay.io', ['http://10.1.2.3:5000/', 'https://quay.io/'], ['http://11.0.0.1/', 'https://ten.example/']],
  ['192.0.2.7', ['https://192.0.2.7/'], ['https://192.0.2.8/']],
  ['192.0.2.7:5000', ['http://192.0.2.7:5000/'], ['http://192.0.2.7/']],
  ['fd00::/8', ['https://[fd00::1]/'], ['https://[fe00::1]/', 'https://10.0.0.1/']],
  ['[2001:db8::1]:5000', ['https://[2001:db8::1]:5000/'], ['https://[2001:db8::1]/']],
  ['2001:db8::1', ['https://[2001:DB8:0::1]/'], ['https://[2001:db8::2]/']],
  ['10.0.0.0/99, not/a/range', [], ['http://10.0.0.1/']],
] as const) {
  test(`NO_PROXY=${list}`, () => {
    const env = { ALL_PROXY: 'http://p:1', NO_PROXY: list };
    for (const url of exempt) assert.equal(proxyFor(env, url), undefined, url);
    for (const url of proxied) assert.equal(proxyFor(env, url), 'p:1', url);
  });
}

for (const value of [
  'ftp://user:SECRET@p:1',
  'http://user:SECRET@',
  'http://u:%E0SECRET@p:1',
  'http://p:99999SECRET',
]) {
  test(`a variable that names no proxy is refused without what is in it: ${value}`, () => {
    assert.throws(
      () => proxiesOf({ HTTPS_PROXY: value }),
      (error: Error & { code?: string }) => {
        assert.equal(error.code, 'LARDER_FLAGS_INVALID');
        assert.match(error.message, /HTTPS_PROXY/);
        assert.doesNotMatch(String(error.stack), /SECRET/);
        return true;
      },
    );
  });
}
