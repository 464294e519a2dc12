// Which columns of a file are the features of the model, and how often it was sampled.

// Seconds of one in a column of times, by what stands behind its name or in brackets.
const UNITS = {
  s: 1,
  sec: 1,
  secs: 1,
  seconds: 1,
  ms: 1e-3,
  millis: 1e-3,
  milliseconds: 1e-3,
  us: 1e-6,
  µs: 1e-6,
  micros: 1e-6,
  microseconds: 1e-6,
  ns: 1e-9,
  nanos: 1e-9,
  nanoseconds: 1e-9,
};
const TIME =
  /^(?:t|times?|timestamps?|elapsed)?(s|secs?|seconds|ms|milli(?:second)?s|us|µs|micro(?:second)?s|ns|nano(?:second)?s)?$/;
// How much longer than the others a step between two times may be.
const UNEVEN = 0.5;

const bare = (name) =>
  name
    .toLowerCase()
    .replace(/[[(].*?[\])]/g, "")
    .replace(/[^\p{L}\p{N}]/gu, "");
const unitIn = (name) => (/[[(]\s*(.*?)\s*[\])]/.exec(name)?.[1] ?? "").toLowerCase();
const list = (names) => names.map((name) => `"${name}"`).join(", ");

/**
 * Chooses the columns of all features: by their names, or in their order if there are as many.
 * @returns {{columns: Float64Array[], how: string, times: ?{name: string, values: Float64Array, unit: number}}}
 */
export function chooseColumns({ names, columns, bad, dates }, features) {
  const labels = names ?? columns.map((_, i) => `column ${i + 1}`);
  const time = names ? names.findIndex((name) => bare(name) && TIME.test(bare(name))) : -1;
  const wanted = features.map((feature) => bare(feature.name));
  let chosen = wanted.map((name) => labels.findIndex((label) => bare(label) === name));
  let how = "by their names";
  if (chosen.includes(-1) || new Set(chosen).size !== chosen.length) {
    const numeric = labels.map((_, i) => i).filter((i) => i !== time && !(bad[i] && Number.isNaN(columns[i][0])));
    if (numeric.length !== features.length) {
      throw new Error(
        `The file has ${numeric.length} columns of numbers (${list(numeric.map((i) => labels[i]))}); the model takes ` +
          `${features.length} features: ${list(features.map((feature) => feature.name))}. Name the columns so, or leave ` +
          "out others.",
      );
    }
    chosen = numeric;
    how = "in their order";
  }
  for (const i of chosen) {
    if (bad[i]) throw new Error(`Column "${labels[i]}" has ${bad[i]}; expected a number in every line.`);
  }
  const usesTime = time >= 0 && !chosen.includes(time) && !bad[time];
  const unit = usesTime && (dates[time] ? 1 : unitOf(labels[time], columns[time][0]));
  const times = usesTime ? { name: labels[time], values: columns[time], unit } : null;
  return { columns: chosen.map((i) => columns[i]), how, times };
}

/** Seconds of 1 in a column of times: as its name says, or as long as clocks have run since 1970. */
function unitOf(name, first) {
  const unit = unitIn(name) || TIME.exec(bare(name))[1];
  if (unit) return UNITS[unit] ?? 1;
  return (
    [
      [1e17, 1e-9],
      [1e14, 1e-6],
      [1e11, 1e-3],
    ].find(([least]) => first > least)?.[1] ?? 1
  );
}

/** Samples a second in a column of times; null if there are too few. */
export function rateOf({ name, values, unit }) {
  if (values.length < 3) return null;
  const steps = Array.from(values.subarray(1), (value, i) => value - values[i]);
  const middle = steps.slice().sort((a, b) => a - b)[steps.length >> 1];
  const odd = steps.findIndex((step) => !(Math.abs(step - middle) <= UNEVEN * middle));
  if (!(middle > 0) || odd >= 0) {
    throw new Error(
      `Column "${name}" is uneven: from sample ${odd + 1} to ${odd + 2} there are ${steps[odd] * unit} s, usually ` +
        `${middle * unit} s. Cut the file where it has gaps.`,
    );
  }
  const mean = (values[values.length - 1] - values[0]) / (values.length - 1);
  return 1 / (mean * unit);
}
