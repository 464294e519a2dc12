// A dropped file as a recording of the model's features.

import { chooseColumns, rateOf } from "./columns.js";
import { parseCsv } from "./csv.js";
import { realOf } from "./quantize.js";
import { resample } from "./resample.js";
import { parseWav } from "./wav.js";

// Rates that differ by less are one: clocks are no better.
const SAME_RATE = 0.005;

/** The file's rate is not the model's, and nobody has said that it may be changed. */
export class OtherRateError extends Error {
  constructor(name, found, expected) {
    super(`${name} has ${format(found)} samples a second, the model takes ${format(expected)}.`);
    this.rate = found;
  }
}

const format = (rate) => Number(rate.toPrecision(6)).toLocaleString("en");

/**
 * Reads a CSV or WAV file.
 * @param {File} file
 * @param {object} model facts of the page: `features` and `rate`
 * @param {{resample: boolean, integers: boolean}} options whether another rate is changed to the model's; whether a
 *   table holds integers of the sensors
 * @returns {Promise<{name: string, samples: Float64Array, notes: string[]}>} samples `[count, features]`
 */
export async function readFile(file, model, options) {
  const isWav = /\.wave?$/i.test(file.name) || /wav/.test(file.type);
  if (!isWav && !/\.(csv|tsv|txt)$/i.test(file.name) && !/csv|text/.test(file.type)) {
    throw new Error(`${file.name} is neither CSV nor WAV.`);
  }
  const found = isWav ? readWav(await file.arrayBuffer(), model) : readTable(await file.text(), model, options);
  const notes = [...found.notes];
  let { columns } = found;
  columns.forEach((column, i) => checkColumn(column, model.features[i]));
  if (found.rate && model.rate && Math.abs(found.rate / model.rate - 1) > SAME_RATE) {
    if (!options.resample) throw new OtherRateError(file.name, found.rate, model.rate);
    columns = columns.map((column) => resample(column, found.rate, model.rate));
    notes.push(`resampled from ${format(found.rate)} to ${format(model.rate)} a second`);
  }
  return { name: file.name, samples: interleave(columns), notes };
}

/** Refuses what is no number, and tokens that are none. */
function checkColumn(column, { name, kind, range }) {
  const wrong = column.findIndex((value) => !Number.isFinite(value));
  if (wrong >= 0) throw new Error(`Sample ${wrong + 1} of ${name} is no number.`);
  if (kind !== "token") return;
  const other = column.findIndex((value) => !Number.isInteger(value) || value < range[0] || value > range[1]);
  if (other < 0) return;
  throw new Error(
    `Sample ${other + 1} of ${name} is ${column[other]}; expected a whole number from ${range[0]} to ${range[1]}.`,
  );
}

function readWav(buffer, { features }) {
  const { rate, channels } = parseWav(buffer);
  if (channels.length === features.length) return { rate, columns: channels, notes: [] };
  if (features.length !== 1) {
    throw new Error(`The file has ${channels.length} channels; the model takes ${features.length} features.`);
  }
  const mean = channels[0].map((_, i) => channels.reduce((sum, channel) => sum + channel[i], 0) / channels.length);
  return { rate, columns: [mean], notes: [`the mean of ${channels.length} channels`] };
}

function readTable(text, { features }, { integers }) {
  const { columns, how, times } = chooseColumns(parseCsv(text), features);
  const notes = [`columns ${how}`];
  const rate = times && rateOf(times);
  if (!rate) notes.push("no column of times, so taken at the model's rate");
  if (!integers) return { rate, columns, notes };
  const real = columns.map((column, i) => column.map((raw) => realOf(features[i], raw)));
  return { rate, columns: real, notes: [...notes, "integers of the sensors"] };
}

/** Columns as rows one behind the other. */
function interleave(columns) {
  const samples = new Float64Array(columns.length * columns[0].length);
  columns.forEach((column, c) => column.forEach((value, i) => (samples[i * columns.length + c] = value)));
  return samples;
}
