// What the integers that come out of the device mean: probabilities, quantities, forecasts, and decisions.

/** Reads the results of a device. */
export class Results {
  /** @param {object} model facts of the page: `outputs`, `decision` and the place of the output that `decides` */
  constructor(model) {
    this.outputs = model.outputs;
    this.decision = model.decision;
    this.decides = model.decides;
  }

  /** Real numbers of an output, row by row: a softmax applied, deviations and means in. */
  real(index, integers) {
    const output = this.outputs[index];
    const { start, rows, columns, scale, zeroPoint, activation, gains, offsets } = output;
    const real = new Float32Array(rows * columns);
    for (let i = 0; i < real.length; ++i) real[i] = (integers[start + i] - zeroPoint) * scale;
    for (let row = 0; row < rows; ++row) {
      const values = real.subarray(row * columns, (row + 1) * columns);
      if (activation === "softmax") softmax(values);
      else values.forEach((value, i) => (values[i] = value * (gains?.[i] ?? 1) + (offsets?.[i] ?? 0)));
    }
    return real;
  }

  /** The numbers of what is said, on or has just come: of the decision, or else of the likeliest class. */
  said(integers, decided) {
    const { kind } = this.decision ?? {};
    if (kind === "class") return decided[0] < 0 ? [] : [decided[0]];
    if (kind === "wake word") return decided[0] < 0 ? [] : [decided[0]];
    if (kind === "labels") return marks(decided, 0, decided.length / 2);
    const { start, rows, columns, activation, bars, scale, zeroPoint } = this.outputs[this.decides];
    const last = integers.subarray(start + (rows - 1) * columns, start + rows * columns);
    if (activation === "softmax") return [last.indexOf(Math.max(...last))];
    return bars ? Array.from(last.keys()).filter((i) => (last[i] - zeroPoint) * scale > 0.5) : [];
  }

  /** The numbers of the classes that have just been changed to, have come, or gone on. */
  fired(decided) {
    const { kind } = this.decision ?? {};
    if (kind === "class") return decided[1] ? [decided[0]] : [];
    if (kind === "wake word") return decided[0] < 0 ? [] : [decided[0]];
    return kind === "labels" ? marks(decided, decided.length / 2, decided.length) : [];
  }
}

/** Which of the integers of a stretch are not 0. */
function marks(integers, start, end) {
  const found = [];
  for (let i = start; i < end; ++i) if (integers[i]) found.push(i - start);
  return found;
}

function softmax(values) {
  const largest = Math.max(...values);
  let sum = 0;
  values.forEach((value, i) => (sum += values[i] = Math.exp(value - largest)));
  values.forEach((value, i) => (values[i] = value / sum));
}
