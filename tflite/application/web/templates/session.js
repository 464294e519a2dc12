// A stream through the device, and what came out of it: all that is drawn.

import { Numbers } from "./bytes.js";
import { quantizeSample } from "./quantize.js";
import { Results } from "./results.js";

// Of live streams so many numbers of input are remembered; then the older half is forgotten.
const MOST = 4_000_000;

/** Runs one stream. Times are numbers of samples since its start. */
export class Session {
  /**
   * @param {Device} device
   * @param {object} model facts of the page
   * @param {{truth: ?object, endless: boolean}} of labels of a recording; whether nobody knows how long the stream is
   */
  constructor(device, model, { truth = null, endless = false } = {}) {
    this.device = device;
    this.model = model;
    this.features = model.features;
    this.reader = new Results(model);
    this.truth = truth;
    this.endless = endless;
    this.count = 0; // samples until now
    this.first = 0; // the first of these that is remembered
    this.inputs = new Numbers(Float32Array, this.features.length);
    this.resultTimes = new Numbers(Float64Array);
    this.results = new Numbers(Int32Array, device.sizes.results);
    this.decided = new Numbers(Int32Array, Math.max(1, device.sizes.decided));
    this.curves = model.outputs.map((output) => ({
      output,
      times: new Numbers(Float64Array),
      values: new Numbers(Float32Array, output.columns),
    }));
    this.said = []; // [from sample, numbers of what is said]
    this.events = []; // {at, label}
    this.computing = 0; // milliseconds
    device.start();
  }

  /** A sample of real numbers; the device gets its integers. */
  push(real) {
    this.makeRoom();
    this.inputs.push(real);
    quantizeSample(this.features, real, this.device.sample);
    ++this.count;
    if (this.device.put()) this.keep();
  }

  /** Some samples `[count, features]`, one behind the other. */
  pushAll(samples) {
    const begin = performance.now();
    const width = this.features.length;
    for (let i = 0; i < samples.length; i += width) this.push(samples.slice(i, i + width));
    this.computing += performance.now() - begin;
  }

  /** Microseconds that a sample takes in this browser, drawing aside. */
  get microseconds() {
    return this.count ? (1000 * this.computing) / this.count : 0;
  }

  /** Keeps a result. */
  keep() {
    const { results, decided } = this.device;
    this.resultTimes.push(this.count);
    this.results.push(results);
    if (decided.length) this.decided.push(decided);
    this.curves.forEach(({ output, times, values }, index) => {
      const real = this.reader.real(index, results);
      const apart = this.model.stepsAtOnce / output.rows;
      for (let row = 0; row < output.rows; ++row) {
        times.push(this.count - (output.rows - 1 - row) * apart);
        values.push(real.subarray(row * output.columns, (row + 1) * output.columns));
      }
    });
    const said = this.reader.said(results, decided);
    if (String(said) !== String(this.said.at(-1)?.[1])) this.said.push([this.count, said]);
    for (const label of this.reader.fired(decided)) this.events.push({ at: this.count, label });
  }

  /** What is said at a time, and since when. */
  saidAt(time) {
    let low = 0;
    let high = this.said.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.said[middle][0] > time) high = middle;
      else low = middle + 1;
    }
    return low ? { since: this.said[low - 1][0], labels: this.said[low - 1][1] } : null;
  }

  /** Forgets the older half of a stream that never ends. */
  makeRoom() {
    if (!this.endless || this.inputs.length * this.features.length < MOST) return;
    const half = this.inputs.length >> 1;
    this.inputs.drop(half);
    this.first += half;
    const results = Math.max(
      0,
      this.resultTimes.values.subarray(0, this.resultTimes.length).findIndex((t) => t > this.first),
    );
    for (const each of [this.resultTimes, this.results, ...(this.decided.length ? [this.decided] : [])])
      each.drop(results);
    for (const { output, times, values } of this.curves) {
      times.drop(results * output.rows);
      values.drop(results * output.rows);
    }
    this.said = this.said.filter(([at], i) => at > this.first || i === this.said.length - 1);
    this.events = this.events.filter(({ at }) => at > this.first);
  }

  /** All results as CSV: integers of the outputs, and of the decisions. */
  toCsv() {
    const heads = this.model.outputs.flatMap(({ name, rows, columns }) =>
      Array.from({ length: rows * columns }, (_, i) => `${name}[${i}]`),
    );
    const decided = this.decided.length ? Array.from(this.device.decided, (_, i) => `decision[${i}]`) : [];
    const quoted = [...heads, ...decided].map((name) => `"${name.replaceAll('"', '""')}"`);
    const lines = [["samples", ...quoted].join(",")];
    for (let i = 0; i < this.resultTimes.length; ++i) {
      const own = decided.length ? [...this.decided.row(i)] : [];
      lines.push([this.resultTimes.values[i], ...this.results.row(i), ...own].join(","));
    }
    return lines.join("\n") + "\n";
  }
}
