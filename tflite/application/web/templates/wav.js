// WAV files: whole numbers of 8 to 32 bits, or floating point, of any number of channels.

const PCM = 1;
const FLOAT = 3;
const EXTENSIBLE = 0xfffe;

/**
 * The samples of a file, whole numbers as -1 to 1.
 * @param {ArrayBuffer} buffer
 * @returns {{rate: number, channels: Float64Array[]}}
 */
export function parseWav(buffer) {
  const view = new DataView(buffer);
  const tag = (place) => String.fromCharCode(...new Uint8Array(buffer, place, 4));
  if (buffer.byteLength < 12 || tag(0) !== "RIFF" || tag(8) !== "WAVE") {
    throw new Error("The file is no WAV file: it does not begin with RIFF and WAVE.");
  }
  let format = null;
  for (let place = 12; place + 8 <= buffer.byteLength;) {
    const size = view.getUint32(place + 4, true);
    if (tag(place) === "fmt ") format = readFormat(view, place + 8, size);
    if (tag(place) === "data") {
      if (!format) throw new Error("The WAV file is damaged: its samples come before their format.");
      return { rate: format.rate, channels: readSamples(view, place + 8, size, format) };
    }
    place += 8 + size + (size % 2);
  }
  throw new Error("The WAV file is damaged: it holds no samples.");
}

function readFormat(view, place, size) {
  const kind = view.getUint16(place, true);
  const format = {
    kind: kind === EXTENSIBLE && size >= 26 ? view.getUint16(place + 24, true) : kind,
    channels: view.getUint16(place + 2, true),
    rate: view.getUint32(place + 4, true),
    frame: view.getUint16(place + 12, true),
    bits: view.getUint16(place + 14, true),
  };
  const { channels, rate, frame, bits } = format;
  if (!channels || !rate || frame !== channels * Math.ceil(bits / 8)) {
    throw new Error(`The WAV file is damaged: its header says ${channels} channels, ${rate} Hz, ${bits} bits.`);
  }
  return format;
}

/** Channels of samples; a size that a recorder did not know yet means all that follows. */
function readSamples(view, place, size, { kind, channels, frame, bits }) {
  const read = reader(view, kind, bits);
  const known = size > 0 && size < 0x7ffff000;
  if (known && place + size > view.byteLength) {
    throw new Error(`The WAV file is cut off: ${view.byteLength - place} bytes of samples are there of ${size}.`);
  }
  const frames = Math.floor((known ? size : view.byteLength - place) / frame);
  if (!frames) throw new Error("The WAV file holds no sample.");
  const found = Array.from({ length: channels }, () => new Float64Array(frames));
  for (let i = 0; i < frames; ++i) {
    for (let c = 0; c < channels; ++c) found[c][i] = read(place + i * frame + (c * frame) / channels);
  }
  return found;
}

/** Reads the sample at a place. */
function reader(view, kind, bits) {
  if (kind === FLOAT && bits === 32) return (at) => view.getFloat32(at, true);
  if (kind === FLOAT && bits === 64) return (at) => view.getFloat64(at, true);
  if (kind !== PCM || bits < 1 || bits > 32) {
    throw new Error(`The WAV file holds format ${kind} of ${bits} bits; expected uncompressed samples.`);
  }
  const readers = {
    1: (at) => (view.getUint8(at) - 128) / 128,
    2: (at) => view.getInt16(at, true) / 2 ** 15,
    3: (at) => (view.getUint8(at) + view.getInt16(at + 1, true) * 256) / 2 ** 23,
    4: (at) => view.getInt32(at, true) / 2 ** 31,
  };
  return readers[Math.ceil(bits / 8)];
}
