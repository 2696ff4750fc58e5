/** The text format of Prometheus, as strictly as its own parser reads it: name and labels -> value. */
import assert from 'node:assert/strict';

const SAMPLE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[a-zA-Z_]\w*="(?:[^"\\\n]|\\[\\"n])*",?)+\})? (\S+)$/;

export function parseMetrics(text: string): Map<string, number> {
  assert.ok(text.endsWith('\n'), 'the last line ends');
  const found = new Map<string, number>();
  const types = new Map<string, string>();
  for (const line of text.slice(0, -1).split('\n')) {
    const type = /^# TYPE (\S+) (counter|gauge|histogram)$/.exec(line);
    if (type !== null) {
      assert.ok(!types.has(type[1] ?? ''), `${line}: declared twice`);
      types.set(type[1] ?? '', type[2] ?? '');
    }
    if (line.startsWith('#')) {
      assert.match(line, /^# (HELP|TYPE) \S+ ./);
      continue;
    }
    const [, name = '', labels = '', value = ''] = SAMPLE.exec(line) ?? assert.fail(`not a sample: ${line}`);
    const family = types.has(name) ? name : name.replace(/_(bucket|sum|count)$/, '');
    assert.ok(types.has(family), `${line}: of no declared metric`);
    assert.ok(!found.has(name + labels), `${line}: there twice`);
    found.set(name + labels, value === '+Inf' ? Number.POSITIVE_INFINITY : Number(value));
    assert.ok(!Number.isNaN(found.get(name + labels)), line);
  }
  return found;
}
