/**
 * Counters, gauges and histograms, and their text for Prometheus (exposition format 0.0.4). Pure: no clock, no I/O.
 * A metric exists from its declaration on; one without labels is shown as 0 before anything happened.
 */

export type Labels = Readonly<Record<string, string>>;

interface Metric {
  readonly name: string;
  readonly help: string;
  readonly kind: 'counter' | 'gauge' | 'histogram';
  samples(): readonly Sample[];
}

interface Sample {
  readonly suffix: string;
  readonly labels: Labels;
  readonly value: number;
}

/** As Prometheus demands of names. */
const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
/** More label sets of one metric than this are counted under no name of their own: labels must not fill memory. */
const MAX_SERIES = 1000;
const REST: Labels = { overflow: 'true' };

export class MetricsRegistry {
  readonly #metrics = new Map<string, Metric>();

  counter(name: string, help: string): Counter {
    return this.#add(new Counter(name, help));
  }

  gauge(name: string, help: string): Gauge {
    return this.#add(new Gauge(name, help));
  }

  /** `bounds`: upper bounds of the buckets, ascending, without +Inf. */
  histogram(name: string, help: string, bounds: readonly number[]): Histogram {
    return this.#add(new Histogram(name, help, bounds));
  }

  render(): string {
    const lines: string[] = [];
    for (const metric of this.#metrics.values()) {
      lines.push(`# HELP ${metric.name} ${escapeHelp(metric.help)}`, `# TYPE ${metric.name} ${metric.kind}`);
      for (const { suffix, labels, value } of metric.samples())
        lines.push(`${metric.name}${suffix}${labelText(labels)} ${numberText(value)}`);
    }
    return `${lines.join('\n')}\n`;
  }

  #add<M extends Metric>(metric: M): M {
    if (!NAME.test(metric.name)) throw new TypeError(`metric ${metric.name}: not a name`);
    if (this.#metrics.has(metric.name)) throw new TypeError(`metric ${metric.name}: declared twice`);
    this.#metrics.set(metric.name, metric);
    return metric;
  }
}

class Series<T> {
  readonly #values = new Map<string, { readonly labels: Labels; value: T }>();

  update(labels: Labels, change: (value: T | undefined) => T): void {
    const fits = this.#values.has(labelText(labels)) || this.#values.size < MAX_SERIES;
    const counted = fits ? labels : REST;
    const key = labelText(counted);
    this.#values.set(key, { labels: counted, value: change(this.#values.get(key)?.value) });
  }

  get(labels: Labels): T | undefined {
    return this.#values.get(labelText(labels))?.value;
  }

  all(): readonly { readonly labels: Labels; readonly value: T }[] {
    return [...this.#values.values()];
  }
}

export class Counter implements Metric {
  readonly kind = 'counter';
  readonly name: string;
  readonly help: string;
  readonly #series = new Series<number>();

  constructor(name: string, help: string) {
    this.name = name;
    this.help = help;
  }

  /** Negative and unreal amounts are refused: a counter never goes back. */
  add(amount = 1, labels: Labels = {}): void {
    if (!(amount >= 0)) throw new RangeError(`metric ${this.name}: ${amount} cannot be added`);
    this.#series.update(labels, (value = 0) => value + amount);
  }

  /** For what is counted elsewhere; never goes back either. */
  raiseTo(total: number, labels: Labels = {}): void {
    this.#series.update(labels, (value = 0) => Math.max(value, total));
  }

  value(labels: Labels = {}): number {
    return this.#series.get(labels) ?? 0;
  }

  samples(): readonly Sample[] {
    return plain(this.#series.all());
  }
}

export class Gauge implements Metric {
  readonly kind = 'gauge';
  readonly name: string;
  readonly help: string;
  readonly #series = new Series<number>();

  constructor(name: string, help: string) {
    this.name = name;
    this.help = help;
  }

  set(value: number, labels: Labels = {}): void {
    this.#series.update(labels, () => value);
  }

  add(amount: number, labels: Labels = {}): void {
    this.#series.update(labels, (value = 0) => value + amount);
  }

  samples(): readonly Sample[] {
    return plain(this.#series.all());
  }
}

interface Distribution {
  readonly buckets: readonly number[];
  readonly sum: number;
  readonly count: number;
}

export class Histogram implements Metric {
  readonly kind = 'histogram';
  readonly name: string;
  readonly help: string;
  readonly #bounds: readonly number[];
  readonly #series = new Series<Distribution>();

  constructor(name: string, help: string, bounds: readonly number[]) {
    this.name = name;
    this.help = help;
    this.#bounds = bounds;
  }

  observe(value: number, labels: Labels = {}): void {
    this.#series.update(labels, (old = this.#empty()) => ({
      buckets: old.buckets.map((count, i) =>
        value <= (this.#bounds[i] ?? Number.POSITIVE_INFINITY) ? count + 1 : count,
      ),
      sum: old.sum + value,
      count: old.count + 1,
    }));
  }

  samples(): readonly Sample[] {
    const all = this.#series.all();
    const shown = all.length > 0 ? all : [{ labels: {}, value: this.#empty() }];
    return shown.flatMap(({ labels, value }) => [
      ...this.#bounds.map((bound, i) => ({
        suffix: '_bucket',
        labels: { ...labels, le: numberText(bound) },
        value: value.buckets[i] ?? 0,
      })),
      { suffix: '_bucket', labels: { ...labels, le: '+Inf' }, value: value.count },
      { suffix: '_sum', labels, value: value.sum },
      { suffix: '_count', labels, value: value.count },
    ]);
  }

  #empty(): Distribution {
    return { buckets: this.#bounds.map(() => 0), sum: 0, count: 0 };
  }
}

function plain(all: readonly { readonly labels: Labels; readonly value: number }[]): readonly Sample[] {
  const shown = all.length > 0 ? all : [{ labels: {}, value: 0 }];
  return shown.map(({ labels, value }) => ({ suffix: '', labels, value }));
}

function labelText(labels: Labels): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escapeValue(value)}"`);
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
}

function escapeValue(value: string): string {
  return value.replace(/\\/g, '\\\\').replace(/"/g, '\\"').replace(/\n/g, '\\n');
}

function escapeHelp(help: string): string {
  return help.replace(/\\/g, '\\\\').replace(/\n/g, '\\n');
}

function numberText(value: number): string {
  if (Number.isNaN(value)) return 'NaN';
  if (Number.isFinite(value)) return String(value);
  return value > 0 ? '+Inf' : '-Inf';
}
