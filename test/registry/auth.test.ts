import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { LarderError } from '../../src/errors.js';
import type { LarderEvent } from '../../src/events.js';
import { Authenticator, type AuthSettings } from '../../src/registry/auth.js';
import { parseChallenges } from '../../src/registry/challenge.js';
import { type Credentials, NO_CREDENTIALS } from '../../src/registry/credentials.js';
import { sharesCredentials } from '../../src/registry/realm.js';
import { startRegistry } from '../../src/testing/fake-registry.js';
import { clientWith, download, IMAGE, LAYER, referenceTo } from './fixtures.js';

const user = { username: 'user', password: 'pass' };
const login = { kind: 'password', ...user, source: 'test' } as const;
const credentials: Credentials = { ...NO_CREDENTIALS, find: async () => login };
const BASIC = `Basic ${Buffer.from('user:pass').toString('base64')}`;

function assertNothingOf(secret: string, error: Error & { hint?: string; details?: object }, events: object): void {
  const { message, stack, hint, details } = error;
  const said = JSON.stringify([message, stack, hint, details, String(error.cause), events]);
  for (const form of [secret, Buffer.from(`user:${secret}`).toString('base64')]) assert.ok(!said.includes(form), said);
}

describe('a challenge', () => {
  it('is read with quotes, escapes, several schemes and odd spacing', () => {
    const header =
      'Negotiate abc==, Basic realm="a \\"b\\", c=d",Bearer  realm = "https://x/t" , scope="repository:a/b:pull,push",service=x';
    const [negotiate, basic, bearer] = parseChallenges(header);
    assert.equal(negotiate?.scheme, 'negotiate');
    assert.equal(basic?.parameters['realm'], 'a "b", c=d');
    assert.deepEqual(
      { ...bearer?.parameters },
      { realm: 'https://x/t', scope: 'repository:a/b:pull,push', service: 'x' },
    );
  });
  it('of garbage is none, in linear time', () => {
    for (const text of ['', '"', '=,=', '"'.repeat(100_000), 'a="'.repeat(50_000), '\\'.repeat(9000)]) {
      assert.ok(parseChallenges(text).every(({ parameters }) => parameters['realm'] === undefined));
    }
  });
});

describe('credentials may go to a token server', () => {
  const yes = [
    ['registry-1.docker.io', 'auth.docker.io'],
    ['registry.gitlab.com', 'gitlab.com'],
    ['ghcr.io', 'ghcr.io'],
    ['example.com', 'auth.example.com'],
    ['r.team.co.uk', 'auth.team.co.uk'],
  ] as const;
  const no = [
    ['registry-1.docker.io', 'auth.docker.io.evil.example'],
    ['registry-1.docker.io', 'evildocker.io'],
    ['registry-1.docker.io', 'io'],
    ['team.co.uk', 'evil.co.uk'],
    ['mine.azurecr.io', 'evil.azurecr.io'],
    ['1.dkr.ecr.eu-west-1.amazonaws.com', '2.dkr.ecr.eu-west-1.amazonaws.com'],
    ['ghcr.io', 'quay.io'],
    ['10.0.0.1', '11.0.0.1'],
    ['localhost', '127.0.0.1'],
    ['registry', 'auth'],
  ] as const;
  for (const [registry, realm] of yes)
    it(`${realm} of ${registry}`, () => assert.ok(sharesCredentials(registry, realm)));
  for (const [registry, realm] of no)
    it(`but not ${realm} of ${registry}`, () => assert.ok(!sharesCredentials(registry, realm)));
});

describe('the token server that a registry names', () => {
  const ask = async (registry: string, realm: string, tokenHosts: readonly string[] = []) => {
    const events: LarderEvent[] = [];
    const sent: { readonly url: string; readonly authorization: string | undefined }[] = [];
    const send: AuthSettings['send'] = async ({ url, headers }) => {
      sent.push({ url: url.href, authorization: headers['authorization'] });
      return Buffer.from('{"token":"t"}');
    };
    const onEvent = (event: LarderEvent): number => events.push(event);
    const settings = {
      name: 'r',
      url: new URL(registry),
      credentials,
      tokenHosts,
      onEvent,
      send,
    };
    await new Authenticator(settings).answer(
      `Bearer realm="${realm}",service="s",scope="repository:secret/other:pull,push"`,
      'repository:a:pull',
      undefined,
      'test',
    );
    return { sent, events };
  };

  it('gets the credentials in the same domain', async () => {
    const { sent } = await ask('https://registry-1.docker.io/', 'https://auth.docker.io/token');
    assert.deepEqual(sent, [
      { url: 'https://auth.docker.io/token?service=s&scope=repository%3Aa%3Apull', authorization: BASIC },
    ]);
  });
  it('is never asked for rights that the registry chose: see the scope above', async () => {
    const { sent } = await ask('https://r.example/', 'https://auth.r.example/token');
    assert.equal(new URL(sent[0]?.url ?? '').searchParams.get('scope'), 'repository:a:pull');
  });
  it('is asked for nothing that the registry wrote into its address, but that address', async () => {
    const query =
      'tenant=a&scope=repository:secret/other:push&offline_token=true&account=root&scope=registry:catalog:*';
    const { sent } = await ask('https://r.example/', `https://auth.r.example/token?${query}#x`);
    assert.equal(sent[0]?.url, 'https://auth.r.example/token?tenant=a&service=s&scope=repository%3Aa%3Apull');
  });
  it('gets none in another domain, and that is said', async () => {
    const { sent, events } = await ask('https://r.example/', 'https://evil.test/token');
    assert.equal(sent[0]?.authorization, undefined);
    assert.equal(events[0]?.type, 'warning');
  });
  it('gets them in another domain where the user says so', async () => {
    const { sent } = await ask('https://r.example/', 'https://sso.test/token', ['sso.test']);
    assert.equal(sent[0]?.authorization, BASIC);
  });
  for (const login of [
    { kind: 'password', username: 'user', password: 'planted', source: 'test' },
    { kind: 'identity', token: 'planted', source: 'test' },
    { kind: 'bearer', token: 'planted', source: 'test' },
  ] as const) {
    it(`in another domain sees nothing of a login (${login.kind}); the error says what to allow`, async () => {
      const sent: string[] = [];
      const settings: AuthSettings = {
        name: 'r.example',
        url: new URL('https://r.example/'),
        credentials: { ...NO_CREDENTIALS, find: async () => login },
        tokenHosts: [],
        onEvent: undefined,
        send: async (request) => {
          sent.push(JSON.stringify(request));
          throw new LarderError('LARDER_REGISTRY_UNAUTHENTICATED', 'no', { details: { status: 401 } });
        },
      };
      const asked = new Authenticator(settings).answer('Bearer realm="https://evil.test/t"', 's', undefined, 'test');
      if (login.kind === 'bearer') assert.equal(await asked, 'Bearer planted');
      else {
        await assert.rejects(asked, {
          code: 'LARDER_REGISTRY_UNAUTHENTICATED',
          hint: /token_hosts: r\.example=evil\.test/,
        });
        assert.equal(sent.length, 1);
      }
      assert.ok(!sent.join().includes('planted'));
    });
  }
  const refused = [
    ['https://r.example/', 'http://r.example/token'],
    ['https://r.example/', 'http://169.254.169.254/token'],
    ['https://r.example/', 'https://u:p@r.example/token'],
    ['https://r.example/', 'file:///etc/passwd'],
    ['https://r.example/', 'not a url'],
    ['http://10.0.0.1:5000/', 'http://other.example/token'],
    ['http://127.0.0.1:5000/', 'http://10.0.0.1/token'],
  ] as const;
  for (const [registry, realm] of refused) {
    it(`is refused as ${realm} of ${registry}`, async () => {
      await assert.rejects(ask(registry, realm), { code: 'LARDER_POLICY_DENIED' });
    });
  }
});

describe('logging in', () => {
  it('with Basic happens when asked, not before', async () => {
    await using registry = await startRegistry({ images: [IMAGE], auth: { type: 'basic', ...user } });
    const { client } = clientWith({ credentials });
    await client.resolve(referenceTo(registry));
    await client.resolve(referenceTo(registry));
    assert.deepEqual(
      registry.requests.map(({ headers }) => headers.authorization),
      [undefined, undefined, BASIC, BASIC],
    );
  });

  it('with a wrong password ends after one try', async () => {
    await using registry = await startRegistry({
      images: [IMAGE],
      auth: { type: 'basic', username: 'user', password: 'other' },
    });
    const { client } = clientWith({ credentials });
    await assert.rejects(client.resolve(referenceTo(registry)), {
      code: 'LARDER_REGISTRY_UNAUTHENTICATED',
      message: /refused the login/,
    });
    assert.equal(registry.requests.filter(({ headers }) => headers.authorization !== undefined).length, 1);
  });

  it('without credentials says what to do', async () => {
    await using registry = await startRegistry({ images: [IMAGE], auth: { type: 'basic', ...user } });
    await assert.rejects(clientWith().client.resolve(referenceTo(registry)), {
      code: 'LARDER_REGISTRY_UNAUTHENTICATED',
      hint: /docker login/,
    });
  });

  it('without a login tells of a credential helper that failed, or that nobody runs', async () => {
    await using registry = await startRegistry({ images: [IMAGE], auth: { type: 'basic', ...user } });
    const failing = async () => {
      throw new LarderError('LARDER_REGISTRY_UNAUTHENTICATED', 'ask docker-credential-x: it broke');
    };
    for (const [credentials, why] of [
      [{ ...NO_CREDENTIALS, unusedHelper: () => 'desktop' }, /docker-credential-desktop/],
      [{ ...NO_CREDENTIALS, find: failing }, /it broke/],
    ] as const) {
      const { client, events } = clientWith({ credentials });
      await assert.rejects(client.resolve(referenceTo(registry)), {
        code: 'LARDER_REGISTRY_UNAUTHENTICATED',
        hint: why,
      });
      const warnings = events.filter(({ type }) => type === 'warning');
      assert.equal(warnings.length, 1);
      assert.match(JSON.stringify(warnings), why);
    }
  });

  for (const field of ['token', 'access_token'] as const) {
    it(`with a token (${field}) needs one for everything in a repository`, async () => {
      await using registry = await startRegistry({ images: [IMAGE], auth: { type: 'bearer', ...user, field } });
      const { client } = clientWith({ credentials });
      await client.resolve(referenceTo(registry));
      assert.deepEqual(await download(client, referenceTo(registry)), LAYER);
      const tokens = registry.requests.filter(({ url }) => url.startsWith('/token'));
      assert.equal(tokens.length, 1);
      assert.equal(tokens[0]?.url, '/token?service=fake&scope=repository%3Ateam%2Fapp%3Apull');
      assert.equal(tokens[0]?.headers.authorization, BASIC);
    });
  }

  it('sends the password to the token server only', async () => {
    await using registry = await startRegistry({ images: [IMAGE], auth: { type: 'bearer', ...user } });
    const { client } = clientWith({ credentials });
    await client.resolve(referenceTo(registry));
    const withPassword = registry.requests.filter(({ headers }) => headers.authorization === BASIC);
    assert.ok(withPassword.every(({ url }) => url.startsWith('/token')));
  });

  it('ten times at once asks for one token', async () => {
    await using registry = await startRegistry({ images: [IMAGE], auth: { type: 'bearer' } });
    const { client } = clientWith();
    await Promise.all(Array.from({ length: 10 }, () => client.resolve(referenceTo(registry))));
    assert.equal(registry.requests.filter(({ url }) => url.startsWith('/token')).length, 1);
  });

  it('again follows when the token is refused in the middle of a pull', async () => {
    await using registry = await startRegistry({ images: [IMAGE], auth: { type: 'bearer' } });
    const { client } = clientWith();
    await client.resolve(referenceTo(registry));
    registry.expireTokens();
    assert.deepEqual(await download(client, referenceTo(registry)), LAYER);
    assert.equal(registry.requests.filter(({ url }) => url.startsWith('/token')).length, 2);
  });

  it('again follows before a token is too old', async () => {
    await using registry = await startRegistry({ images: [IMAGE], auth: { type: 'bearer', expiresInSeconds: 1 } });
    const { client } = clientWith();
    await client.resolve(referenceTo(registry));
    await new Promise((resolve) => setTimeout(resolve, 600));
    await client.resolve(referenceTo(registry));
    assert.equal(registry.requests.filter(({ url }) => url.startsWith('/token')).length, 2);
    assert.equal(registry.requests.filter(({ url }) => url.includes('/manifests/')).length, 3);
  });

  for (const [what, issuedMs, tokens] of [
    ['was issued long ago, of its age', () => Date.now() - 3_599_500, 2],
    ['was issued in 1970, by a clock that is wrong', () => 0, 1],
    ['is issued tomorrow', () => Date.now() + 86_400_000, 1],
  ] as const) {
    it(`reckons with a token that ${what}`, async () => {
      let asked = 0;
      const settings: AuthSettings = {
        name: 'r.example',
        url: new URL('https://r.example/'),
        credentials: NO_CREDENTIALS,
        tokenHosts: [],
        onEvent: undefined,
        send: async () => {
          const answer = { token: `t${asked++}`, expires_in: 3600, issued_at: new Date(issuedMs()).toISOString() };
          return Buffer.from(JSON.stringify(answer));
        },
      };
      const auth = new Authenticator(settings);
      await auth.answer('Bearer realm="https://r.example/t"', 's', undefined, 'test');
      await new Promise((resolve) => setTimeout(resolve, 600));
      await auth.current('s');
      assert.equal(asked, tokens);
    });
  }

  it('again follows when the token has grown old while storage that it led to failed', async () => {
    await using storage = await startRegistry({ fault: () => ({ kind: 'status', status: 503 }) });
    await using registry = await startRegistry({ images: [IMAGE], auth: { type: 'bearer' } });
    let led = false;
    registry.setFault(({ url, headers }) => {
      if (!url.includes('/blobs/') || headers.authorization === undefined || led) return undefined;
      led = true;
      registry.expireTokens();
      return { kind: 'redirect', location: `${storage.url}/v2/` };
    });
    const { client } = clientWith();
    assert.deepEqual(await download(client, referenceTo(registry)), LAYER);
    assert.equal(registry.requests.filter(({ url }) => url.startsWith('/token')).length, 2);
    assert.ok(storage.requests.every(({ headers }) => headers.authorization === undefined));
  });

  it('ends when a new token is refused, too', async () => {
    const refuse = {
      kind: 'status',
      status: 401,
      headers: { 'www-authenticate': 'Basic realm="x", Bearer realm="REALM",service="fake"' },
    } as const;
    await using registry = await startRegistry({ images: [IMAGE], auth: { type: 'bearer' } });
    const headers = {
      'www-authenticate': refuse.headers['www-authenticate'].replace('REALM', `${registry.url}/token`),
    };
    registry.setFault(({ url }) => (url.includes('/manifests/') ? { ...refuse, headers } : undefined));
    await assert.rejects(clientWith().client.resolve(referenceTo(registry)), {
      code: 'LARDER_REGISTRY_UNAUTHENTICATED',
    });
    assert.equal(registry.requests.filter(({ url }) => url.includes('/manifests/')).length, 2);
  });

  it('ends when the token server refuses the password', async () => {
    await using registry = await startRegistry({
      images: [IMAGE],
      auth: { type: 'bearer', username: 'user', password: 'other' },
    });
    await assert.rejects(clientWith({ credentials }).client.resolve(referenceTo(registry)), {
      code: 'LARDER_REGISTRY_UNAUTHENTICATED',
    });
  });

  it('does not follow a token server that redirects', async () => {
    await using other = await startRegistry();
    await using registry = await startRegistry({ images: [IMAGE], auth: { type: 'bearer', ...user } });
    registry.setFault(({ url }) =>
      url.startsWith('/token') ? { kind: 'redirect', location: `${other.url}/token` } : undefined,
    );
    await assert.rejects(clientWith({ credentials }).client.resolve(referenceTo(registry)));
    assert.equal(other.requests.length, 0);
  });

  const quoting = (status: number, text: string) =>
    ({ kind: 'status', status, body: JSON.stringify({ errors: [{ code: 'DENIED', message: text }] }) }) as const;
  const planted = { ...login, password: 'planted-password' };
  const shownPlanted = { ...NO_CREDENTIALS, find: async () => planted };
  const auth = { type: 'bearer', username: 'user', password: planted.password } as const;

  for (const status of [400, 401, 403, 429, 500]) {
    it(`ends, without the password, when the token server quotes it with ${status}`, async () => {
      await using registry = await startRegistry({ images: [IMAGE], auth });
      registry.setFault(({ url, headers }) =>
        url.startsWith('/token') && headers.authorization !== undefined
          ? quoting(status, `${planted.password} of ${headers.authorization}`)
          : undefined,
      );
      const { client, events } = clientWith({ credentials: shownPlanted });
      await assert.rejects(client.resolve(referenceTo(registry)), (error: Error) => {
        assertNothingOf(planted.password, error, events);
        return true;
      });
      assert.ok(registry.requests.some(({ headers }) => headers.authorization !== undefined));
    });
  }

  it('ends, without the password, when the registry quotes what its token server was told before', async () => {
    await using registry = await startRegistry({ images: [IMAGE], auth });
    registry.setFault(({ url, headers }) =>
      url.includes('/manifests/') && headers.authorization !== undefined
        ? quoting(403, `it was ${planted.password}`)
        : undefined,
    );
    const { client, events } = clientWith({ credentials: shownPlanted });
    await assert.rejects(client.resolve(referenceTo(registry)), (error: Error) => {
      assert.match(error.message, /it was …/);
      assertNothingOf(planted.password, error, events);
      return true;
    });
  });

  for (const body of [
    '{}',
    '{"token":""}',
    '{"tokens":"s3cret"}',
    '{"token":"s3cret\\r\\nX: y"}',
    '{"token":"s3cret',
    'x'.repeat(2 << 20),
  ]) {
    it(`ends, quoting nothing, when the token server answers ${JSON.stringify(body.slice(0, 20))}`, async () => {
      await using registry = await startRegistry({ images: [IMAGE], auth: { type: 'bearer' } });
      registry.setFault(({ url }) => (url.startsWith('/token') ? { kind: 'status', status: 200, body } : undefined));
      await assert.rejects(clientWith().client.resolve(referenceTo(registry)), (error: Error) => {
        assert.match(error.message, /^log in: /);
        assert.doesNotMatch(`${error.message}${String(error.cause)}`, /s3cret/);
        return true;
      });
    });
  }
});
