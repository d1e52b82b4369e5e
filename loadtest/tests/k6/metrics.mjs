// k6/metrics: what is added is kept.

export const registry = new Map();

class Metric {
  constructor(name) {
    if (registry.has(name)) throw new Error(`metric ${name} is made twice`);
    this.name = name;
    this.samples = [];
    registry.set(name, this);
  }

  add(value) {
    const number = Number(value);
    if (Number.isNaN(number)) throw new Error(`${value} was added to ${this.name}`);
    this.samples.push(number);
  }
}

export class Counter extends Metric {
  type = 'counter';

  values() {
    return { count: this.samples.reduce((sum, value) => sum + value, 0) };
  }
}

export class Rate extends Metric {
  type = 'rate';

  values() {
    const passes = this.samples.filter((value) => value !== 0).length;
    const fails = this.samples.length - passes;
    return { passes, fails, rate: this.samples.length ? passes / this.samples.length : 0 };
  }
}

export class Trend extends Metric {
  type = 'trend';

  values(stats) {
    const sorted = [...this.samples].sort((a, b) => a - b);
    const percentile = (share) => {
      if (!sorted.length) return 0;
      const place = (sorted.length - 1) * share;
      const low = sorted[Math.floor(place)];
      return low + (sorted[Math.ceil(place)] - low) * (place % 1);
    };
    const known = {
      count: () => sorted.length,
      avg: () => sorted.reduce((sum, value) => sum + value, 0) / (sorted.length || 1),
      min: () => percentile(0),
      med: () => percentile(0.5),
      max: () => percentile(1),
    };
    const one = (stat) => {
      const match = /^p\((\d+(?:\.\d+)?)\)$/.exec(stat);
      if (match) return percentile(Number(match[1]) / 100);
      if (!(stat in known)) throw new Error(`k6 has no trend statistic ${stat}`);
      return known[stat]();
    };
    return Object.fromEntries(stats.map((stat) => [stat, one(stat)]));
  }
}
