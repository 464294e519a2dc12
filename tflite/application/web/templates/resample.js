// Samples at another rate: a windowed sinc, that removes what the new rate cannot hold.

// Zeros of the sinc on each side of its middle.
const LOBES = 16;

/** Resamples a stream that comes in pieces. */
export class Resampler {
  /** From so many samples a second to so many. */
  constructor(from, to) {
    this.step = from / to;
    this.cutoff = Math.min(1, to / from);
    this.half = LOBES / this.cutoff;
    this.kept = []; // the last samples
    this.start = 0; // number of the first of these
    this.next = 0; // number of the next sample to come out
  }

  /** The samples that are ready behind these. */
  push(samples) {
    for (const sample of samples) this.kept.push(sample);
    return this.take(this.start + this.kept.length - this.half);
  }

  /** All that is left at the end of the stream. */
  finish() {
    return this.take(this.start + this.kept.length - 0.5);
  }

  /** The samples at places before `end`, in samples that came in. */
  take(end) {
    const found = [];
    for (; this.next * this.step < end; ++this.next) found.push(this.at(this.next * this.step));
    const unneeded = Math.floor(this.next * this.step - this.half) - this.start;
    if (unneeded > 4096) {
      this.kept.splice(0, unneeded);
      this.start += unneeded;
    }
    return found;
  }

  at(place) {
    const last = Math.min(this.start + this.kept.length - 1, Math.floor(place + this.half));
    let sum = 0;
    let weights = 0;
    for (let i = Math.max(this.start, Math.ceil(place - this.half)); i <= last; ++i) {
      const x = (place - i) * this.cutoff;
      const weight =
        (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x)) * (0.5 + 0.5 * Math.cos((Math.PI * x) / LOBES));
      sum += weight * this.kept[i - this.start];
      weights += weight;
    }
    return sum / weights;
  }
}

/** A whole recording at another rate. */
export function resample(samples, from, to) {
  if (from === to) return samples;
  const resampler = new Resampler(from, to);
  return Float64Array.from([...resampler.push(samples), ...resampler.finish()]);
}

/** Readings that come when they like, on a grid of equal steps: straight lines between them. */
export class Grid {
  constructor(rate) {
    this.period = 1000 / rate;
    this.last = null;
    this.next = 0;
  }

  /** The samples between the last reading and this one, at a time in milliseconds. */
  push(time, values) {
    const found = [];
    if (this.last === null) this.next = time;
    const [before, old] = this.last ?? [time, values];
    if (time < before) return found;
    for (; this.next <= time; this.next += this.period) {
      const part = time === before ? 1 : (this.next - before) / (time - before);
      found.push(values.map((value, i) => old[i] + part * (value - old[i])));
    }
    this.last = [time, values.slice()];
    return found;
  }
}
