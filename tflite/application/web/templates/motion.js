// A phone's motion sensors, at the model's rate.

import { Grid } from "./resample.js";

const G = 9.80665;
const DEGREES = Math.PI / 180;

// Where a feature may come from: a reading of the event, and what makes it the unit of the feature.
export const MOTIONS = [
  { name: "acceleration x", read: (event) => event.accelerationIncludingGravity?.x, kind: "acceleration" },
  { name: "acceleration y", read: (event) => event.accelerationIncludingGravity?.y, kind: "acceleration" },
  { name: "acceleration z", read: (event) => event.accelerationIncludingGravity?.z, kind: "acceleration" },
  { name: "acceleration x without gravity", read: (event) => event.acceleration?.x, kind: "acceleration" },
  { name: "acceleration y without gravity", read: (event) => event.acceleration?.y, kind: "acceleration" },
  { name: "acceleration z without gravity", read: (event) => event.acceleration?.z, kind: "acceleration" },
  { name: "turning around x", read: (event) => event.rotationRate?.alpha, kind: "turning" },
  { name: "turning around y", read: (event) => event.rotationRate?.beta, kind: "turning" },
  { name: "turning around z", read: (event) => event.rotationRate?.gamma, kind: "turning" },
];

/** The sensor that a feature most likely is, by its name and place; -1 for none, which stays 0. */
export function guessMotion(feature, place) {
  const name = feature.name.toLowerCase();
  const turning = /gyro|angular|rotation|turn|\bg[xyz]\b/.test(name) || /deg|rad/i.test(feature.unitName);
  const axis = /(?:^|[^a-z])a?g?([xyz])(?:$|[^a-z])/.exec(name)?.[1];
  const index = axis ? "xyz".indexOf(axis) : place % 3;
  return (turning ? 6 : 0) + index;
}

/** What one of the browser's units (m/s2, degrees a second) is in a feature's. */
export function factorOf(motion, unitName) {
  const unit = unitName.toLowerCase().replace(/\s/g, "");
  if (motion.kind === "turning") return /rad/.test(unit) ? DEGREES : 1;
  if (/^mg$|milli-?g/.test(unit)) return 1000 / G;
  return /^g$|^g_?n$|^gravit/.test(unit) ? 1 / G : 1;
}

/** Safari gives accelerations with the other sign than the standard. */
export function signOfPlatform({ platform = "", userAgent = "", maxTouchPoints = 0 }) {
  return /iP(hone|ad|od)/.test(userAgent) || (platform === "MacIntel" && maxTouchPoints > 1) ? -1 : 1;
}

/** Why there is no motion here, or "". */
export function whyNoMotion(scope) {
  if (!("DeviceMotionEvent" in scope)) return "This browser knows no motion sensors.";
  if (!scope.isSecureContext) {
    return (
      "Browsers give motion only to pages that come by https or from this device itself: put this file on any https " +
      "server."
    );
  }
  return "";
}

/**
 * Starts the sensors, after having asked for them where one must.
 * @param {object[]} features of the model
 * @param {number[]} chosen index in `MOTIONS` for each feature, -1 for one that stays 0
 * @param {number} rate samples a second
 * @param {(sample: number[]) => void} take is called with each sample
 * @returns {Promise<() => void>} stops them
 */
export async function startMotion(features, chosen, rate, take) {
  const reason = whyNoMotion(window);
  if (reason) throw new Error(reason);
  if (typeof DeviceMotionEvent.requestPermission === "function") {
    const answer = await DeviceMotionEvent.requestPermission();
    if (answer !== "granted")
      throw new Error("The motion sensors were not allowed. Reload the page to be asked again.");
  }
  const sign = signOfPlatform(navigator);
  const factors = features.map(({ unitName }, i) => {
    const motion = MOTIONS[chosen[i]];
    return motion ? factorOf(motion, unitName) * (motion.kind === "acceleration" ? sign : 1) : 0;
  });
  const grid = new Grid(rate);
  const listen = (event) => {
    const values = chosen.map((index, i) => (index < 0 ? 0 : (MOTIONS[index].read(event) ?? NaN) * factors[i]));
    if (!values.some(Number.isNaN)) grid.push(event.timeStamp, values).forEach(take);
  };
  window.addEventListener("devicemotion", listen);
  return () => window.removeEventListener("devicemotion", listen);
}
