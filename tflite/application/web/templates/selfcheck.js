// The device against its golden vectors: integers that every engine must give, bit for bit.

/** Counts integers that differ, and remembers where the first one does. */
class Comparison {
  constructor() {
    this.integers = 0;
    this.differing = 0;
    this.first = "";
  }

  compare(found, expected, start, where) {
    for (let i = 0; i < found.length; ++i) {
      ++this.integers;
      if (found[i] !== expected[start + i]) {
        if (!this.differing) this.first = `${where()}, number ${i}: ${found[i]} instead of ${expected[start + i]}`;
        ++this.differing;
      }
    }
  }

  miss(count, where) {
    this.integers += count;
    if (!this.differing && count) this.first = where;
    this.differing += count;
  }
}

/**
 * Runs a device on golden vectors of the model, recordings of the application and scores of the decisions.
 * @returns {{integers: number, differing: number, first: string, milliseconds: number}}
 */
export function checkDevice(device, golden) {
  const begin = performance.now();
  const comparison = new Comparison();
  checkModel(device, golden.model, comparison);
  checkApplication(device, golden.application, comparison);
  if (golden.decisions) checkDecisions(device, golden.decisions, comparison);
  device.start();
  const { integers, differing, first } = comparison;
  return { integers, differing, first, milliseconds: performance.now() - begin };
}

/** Streams from a reset: the outputs of every step, and the states after the last one. */
function checkModel(device, { streams, steps, inputs, outputs, states }, comparison) {
  const { exports, sizes } = device;
  const into = device.view(exports.model_page_inputs(), sizes.inputs);
  const out = device.view(exports.model_page_outputs(), sizes.results);
  for (let stream = 0; stream < streams; ++stream) {
    exports.model_page_reset();
    for (let step = 0; step < steps; ++step) {
      const place = stream * steps + step;
      into.set(inputs.subarray(place * sizes.inputs, (place + 1) * sizes.inputs));
      exports.model_page_step();
      comparison.compare(out, outputs, place * sizes.results, () => `outputs of golden stream ${stream}, step ${step}`);
    }
    const last = device.view(exports.model_page_states(), sizes.states);
    comparison.compare(last, states, stream * sizes.states, () => `states after golden stream ${stream}`);
  }
}

/** Recordings with a gap in front of each: every result, and what is decided from it. */
function checkApplication(device, { firsts, length, samples, results, decided }, comparison) {
  const { sizes } = device;
  const count = samples.length / sizes.features;
  const expected = results.length / sizes.results;
  let used = 0;
  device.start();
  for (const first of firsts) {
    device.gap();
    for (let i = 0; i < length; ++i) {
      const place = (first + i) % count;
      device.sample.set(samples.subarray(place * sizes.features, (place + 1) * sizes.features));
      if (!device.put()) continue;
      if (used < expected) {
        const where = () => `result ${used} of the application`;
        comparison.compare(device.results, results, used * sizes.results, where);
        comparison.compare(device.decided, decided, used * sizes.decided, () => `decision in ${where()}`);
      }
      ++used;
    }
  }
  comparison.miss(Math.abs(expected - used), `${used} results of the application came instead of ${expected}`);
}

/** Known scores: the decision that must come of each. */
function checkDecisions(device, { scores, decided }, comparison) {
  const { exports, sizes } = device;
  const into = device.view(exports.decision_page_scores(), sizes.scores);
  exports.decision_page_reset();
  for (let i = 0; i < scores.length / sizes.scores; ++i) {
    into.set(scores.subarray(i * sizes.scores, (i + 1) * sizes.scores));
    exports.decision_page_step();
    comparison.compare(device.decided, decided, i * sizes.decided, () => `decision ${i} of known scores`);
  }
}
