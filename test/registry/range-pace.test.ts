import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { RangePace } from '../../src/registry/range-pace.js';

const MB = 1e6;

/** What a line gives to so many connections, in bytes a second, and which share of the time its reader waits. */
type Line = (connections: number) => { readonly rate: number; readonly waiting: number };

/** The connections that are wanted in each of the next seconds. */
function seconds(
  pace: RangePace,
  line: Line,
  count: number,
  { rest = 10_000 * MB, limit = 4, since = 0, first = 1 } = {},
): number[] {
  const wanted: number[] = [];
  let connections = first;
  for (let nowMs = 1000 * (since + 1); wanted.length < count; nowMs += 1000) {
    const { rate, waiting } = line(connections);
    pace.arrived(rate);
    pace.waited(waiting * 1000);
    connections = pace.connections(nowMs, rest, limit);
    wanted.push(connections);
  }
  return wanted;
}

describe('the number of connections', () => {
  it('doubles up to the limit while each gets what one got', () => {
    const line: Line = (connections) => ({ rate: 20 * MB * connections, waiting: 0.9 });
    assert.deepEqual(seconds(new RangePace(0), line, 6), [2, 2, 4, 4, 4, 4]);
  });

  it('goes back to one where they only share one line, and tries again much later', () => {
    const line: Line = () => ({ rate: 12 * MB, waiting: 0.95 });
    assert.deepEqual(seconds(new RangePace(0), line, 20), [2, 2, ...new Array(15).fill(1), 2, 2, 1]);
  });

  it('stays at two where four are no faster', () => {
    const line: Line = (connections) => ({ rate: 20 * MB * Math.min(2, connections), waiting: 0.9 });
    assert.deepEqual(seconds(new RangePace(0), line, 7), [2, 2, 4, 4, 2, 2, 2]);
  });

  it('stays one while something else than the network takes the time', () => {
    assert.deepEqual(
      seconds(new RangePace(0), () => ({ rate: 100 * MB, waiting: 0.3 }), 4),
      [1, 1, 1, 1],
    );
  });

  it('stays one for what is over soon', () => {
    assert.deepEqual(
      seconds(new RangePace(0), () => ({ rate: 20 * MB, waiting: 0.9 }), 4, { rest: 39 * MB }),
      [1, 1, 1, 1],
    );
  });

  it('stays one for what is small, however slow it comes', () => {
    assert.deepEqual(
      seconds(new RangePace(0), () => ({ rate: MB, waiting: 0.99 }), 4, { rest: 30 * MB }),
      [1, 1, 1, 1],
    );
  });

  it('is asked for again a few seconds after there was no leave', () => {
    const pace = new RangePace(0);
    const line: Line = () => ({ rate: 20 * MB, waiting: 0.9 });
    assert.deepEqual(seconds(pace, line, 1), [2]);
    pace.refused(0);
    assert.deepEqual(seconds(pace, line, 7), [1, 1, 1, 1, 1, 2, 2]);
  });

  it('goes back where more bring less than fewer did before', () => {
    const pace = new RangePace(0);
    const good: Line = (connections) => ({ rate: 20 * MB * connections, waiting: 0.9 });
    assert.deepEqual(seconds(pace, good, 5), [2, 2, 4, 4, 4]);
    const bad: Line = () => ({ rate: 10 * MB, waiting: 0.9 });
    assert.deepEqual(seconds(pace, bad, 6, { since: 5, first: 4 }), [4, 2, 2, 1, 1, 1]);
  });

  it('stays where it is while something else than the network has become slow', () => {
    const pace = new RangePace(0);
    seconds(pace, (connections) => ({ rate: 20 * MB * connections, waiting: 0.9 }), 5);
    assert.deepEqual(
      seconds(pace, () => ({ rate: 10 * MB, waiting: 0.2 }), 4, { since: 5, first: 4 }),
      [4, 4, 4, 4],
    );
  });

  it('comes down at once with the limit, and is tried again when that has risen', () => {
    const pace = new RangePace(0);
    const good: Line = (connections) => ({ rate: 20 * MB * connections, waiting: 0.9 });
    seconds(pace, good, 4);
    assert.deepEqual(seconds(pace, good, 3, { limit: 1, since: 4, first: 4 }), [1, 1, 1]);
    assert.deepEqual(seconds(pace, good, 4, { since: 7 }), [2, 2, 4, 4]);
  });
});
