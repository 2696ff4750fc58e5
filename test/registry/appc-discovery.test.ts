import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  discoverIn,
  discoveryLevels,
  expandTemplate,
  parseMetaTags,
  simplePath,
  simpleUrl,
} from '../../src/registry/appc-discovery.js';
import { type AppcRequest, appcRequestOf, parseAppcName } from '../../src/spec/appc-name.js';
import { parsePlatform } from '../../src/spec/platform.js';

function requestOf(text: string): AppcRequest {
  return appcRequestOf(parseAppcName(text), parsePlatform('linux/amd64'));
}

const WORKER = requestOf('appc:example.com/reduce-worker:1.0.0');

describe('simple discovery', () => {
  it('puts name and labels behind the prefix, with nothing between', () => {
    assert.equal(simplePath('/srv/', WORKER, 'aci'), '/srv/example.com/reduce-worker-1.0.0-linux-amd64.aci');
    assert.equal(simplePath('/srv/x-', requestOf('appc:a'), 'aci.asc'), '/srv/x-a-latest-linux-amd64.aci.asc');
    assert.equal(simpleUrl('https://', WORKER, 'aci'), 'https://example.com/reduce-worker-1.0.0-linux-amd64.aci');
  });

  it('lets no label climb out of a directory, or be a pattern', () => {
    for (const version of ['1/2', '../x', 'a\\b', '*', '[a]', '{a,b}', 'a?'])
      assert.throws(() => simplePath('/srv/', requestOf(`appc:a:${encodeURIComponent(version)}`), 'aci'), {
        code: 'LARDER_REFERENCE_INVALID',
        message: /the label version cannot be part of a file name/,
      });
  });

  it('encodes labels in URLs', () => {
    const request = requestOf('appc:a.example/b:1%2F..%2F%3Fx%23');
    assert.equal(simpleUrl('https://', request, 'aci'), 'https://a.example/b-1%2F..%2F%3Fx%23-linux-amd64.aci');
  });

  it('wants a host in the name where the prefix has none', () => {
    assert.throws(() => simpleUrl('http://', requestOf('appc:database:1'), 'aci'), {
      code: 'LARDER_REFERENCE_INVALID',
    });
    assert.equal(simpleUrl('http://h/', requestOf('appc:database:1'), 'aci'), 'http://h/database-1-linux-amd64.aci');
  });
});

describe('the levels of a name', () => {
  it('are the name and its parents', () => {
    assert.deepEqual(discoveryLevels('example.com/a/b'), ['example.com/a/b', 'example.com/a', 'example.com']);
  });

  it('are few, and the host is one of them, however deep the name is', () => {
    const levels = discoveryLevels(`example.com${'/a'.repeat(100)}`);
    assert.equal(levels.length, 16);
    assert.equal(levels.at(-1), 'example.com');
  });
});

describe('a template', () => {
  it('has its names replaced', () => {
    const template = 'https://storage.example.com/{os}/{arch}/{name}-{version}.{ext}';
    assert.equal(
      expandTemplate(template, WORKER, 'aci.asc'),
      'https://storage.example.com/linux/amd64/example.com/reduce-worker-1.0.0.aci.asc',
    );
  });

  it('may name any label, encoded, and no property of objects', () => {
    const request = requestOf('appc:a:1,channel=x%26y');
    assert.equal(expandTemplate('https://h/?c={channel}.{ext}', request, 'aci'), 'https://h/?c=x%26y.aci');
    assert.equal(expandTemplate('https://h/{constructor}.{ext}', request, 'aci'), undefined);
    assert.equal(expandTemplate('https://h/{env}.{ext}', request, 'aci'), undefined);
  });

  it('that is nothing to fetch from is passed over', () => {
    for (const template of [
      'hdfs://h/{name}.{ext}',
      'file:///etc/{name}.{ext}',
      'https://user:pw@h/{name}.{ext}',
      'javascript:{ext}',
      '/{name}.{ext}',
      'https://',
      `https://h/${'x'.repeat(9000)}{ext}`,
    ])
      assert.equal(expandTemplate(template, WORKER, 'aci'), undefined, template);
  });
});

describe('a page', () => {
  const tag = (content: string, name = 'ac-discovery'): string => `<meta name="${name}" content="${content}">`;
  const urlsIn = (page: string): string[] => discoverIn(page, WORKER).urls.map(({ aci }) => aci);

  it('says where an image and its signature are, and where keys are offered', () => {
    const page = `<html><head>${tag('example.com https://s.example.com/{name}-{version}.{ext}')}
      ${tag('example.com https://example.com/pubkeys.gpg', 'ac-discovery-pubkeys')}</head></html>`;
    assert.deepEqual(discoverIn(page, WORKER), {
      urls: [
        {
          aci: 'https://s.example.com/example.com/reduce-worker-1.0.0.aci',
          signature: 'https://s.example.com/example.com/reduce-worker-1.0.0.aci.asc',
        },
      ],
      keyUrls: ['https://example.com/pubkeys.gpg'],
    });
  });

  it('is read by the longest prefix that matches, HTTPS first', () => {
    const page = [
      tag('example.com https://short/{ext}'),
      tag('example.com/reduce http://plain/{ext}'),
      tag('example.com/reduce https://long/{ext}'),
      tag('example.com/reduce-worker-two https://other/{ext}'),
      tag('other.example https://other/{ext}'),
    ].join('\n');
    assert.deepEqual(urlsIn(page), ['https://long/aci', 'http://plain/aci']);
  });

  it('may be written in any way that HTML allows', () => {
    assert.deepEqual(
      urlsIn(
        "<!DOCTYPE html><HTML><Head><LINK a='>' /><META\nCONTENT = 'example.com\thttps://h/?a=1&amp;b=&#x7b;ext&#125;'\tname=ac-discovery/></head>",
      ),
      [],
    );
    assert.deepEqual(
      urlsIn(
        "<HTML><Head><LINK a='>' /><META\nCONTENT = 'example.com\thttps://h/?a=1&amp;b=&#x7b;ext&#125;'\tname=ac-discovery />",
      ),
      ['https://h/?a=1&b=aci'],
    );
  });

  const hidden: Readonly<Record<string, (meta: string) => string>> = {
    'a comment': (meta) => `<!-- ${meta} -->`,
    'a comment that does not end': (meta) => `<!-- ${meta}`,
    'a script': (meta) => `<script>let x = '${meta}';</script>`,
    'a script in capitals': (meta) => `<SCRIPT>${meta}</SCRIPT>`,
    'a title': (meta) => `<title>${meta}</title>`,
    'a noscript': (meta) => `<noscript>${meta}</noscript>`,
    'an attribute': (meta) => `<link title='${meta}'>`,
    'an attribute that does not end': (meta) => `<link title='${meta}`,
    'the body': (meta) => `<head></head><body>${meta}`,
    'what follows the head': (meta) => `<head></head>${meta}`,
    'a body of its own accord': (meta) => `<body class="x">${meta}`,
    'a tag of another name': (meta) => meta.replace('<meta', '<metal'),
    'a closing tag': (meta) => meta.replace('<meta', '</meta'),
  };
  for (const [what, hide] of Object.entries(hidden)) {
    it(`does not speak in ${what}`, () => {
      assert.deepEqual(urlsIn(hide(tag('example.com https://evil/{ext}'))), []);
    });
  }

  it('with templates that cannot be told from their signatures, or are no pairs, says nothing', () => {
    for (const content of ['example.com https://h/app.aci', 'example.com', '', ' ', 'example.com https://h/{ext} more'])
      assert.deepEqual(urlsIn(tag(content)), [], content);
  });

  it('offers a few places at most', () => {
    assert.equal(urlsIn(tag('example.com https://h/{ext}').repeat(100)).length, 8);
  });

  it('of any kind is read in time', () => {
    for (const piece of [
      '<',
      '<!--',
      '<meta ',
      '<a b="',
      "<a b='",
      '<script>',
      '<a =',
      '<a b = ',
      '</',
      '<!',
      '&',
      '<a"',
    ]) {
      const page = piece.repeat(Math.ceil((512 * 1024) / piece.length));
      const start = performance.now();
      parseMetaTags(page);
      assert.ok(performance.now() - start < 2000, `${piece}: ${performance.now() - start} ms`);
    }
  });

  it('of random pieces never makes it stumble', () => {
    const piece = fc.constantFrom(
      '<meta',
      ' name=',
      'content=',
      '"',
      "'",
      '>',
      '<!--',
      '-->',
      '<script>',
      '</script',
      'a',
      ' ',
      '=',
      '/',
      '&amp;',
      '&#0;',
      '&#x110000;',
    );
    fc.assert(fc.property(fc.array(piece, { maxLength: 60 }), (pieces) => void parseMetaTags(pieces.join(''))));
  });
});
