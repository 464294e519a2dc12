// From real numbers to the integers that a sensor would give, as Python's Converted.quantize makes them.

/** The nearest whole number; of two the even one. */
export function roundHalfEven(value) {
  const below = Math.floor(value);
  const rest = value - below;
  if (rest !== 0.5) return rest < 0.5 ? below : below + 1;
  return below % 2 === 0 ? below : below + 1;
}

const clip = (value, [low, high]) => Math.min(Math.max(value, low), high);

/** One feature's integer: of its sensor, of the model less the zero point, or a token as it is. */
export function rawOf(feature, real) {
  if (feature.kind === "token") return roundHalfEven(real);
  if (feature.kind === "sensor") return clip(roundHalfEven((real - feature.zero) / feature.lsb), feature.range);
  if (feature.unit === 0) return 0;
  const value = roundHalfEven((real - feature.offset) / feature.unit / feature.scale) + feature.zeroPoint;
  return clip(value, feature.range) - feature.zeroPoint;
}

/** The real number that an integer of a feature stands for. */
export function realOf(feature, raw) {
  if (feature.kind === "token") return raw;
  if (feature.kind === "sensor") return feature.zero + feature.lsb * raw;
  return feature.offset + feature.unit * (raw * feature.scale);
}

/** Puts a sample of real numbers into `into` as integers. */
export function quantizeSample(features, real, into) {
  for (let i = 0; i < features.length; ++i) into[i] = rawOf(features[i], real[i]);
}
