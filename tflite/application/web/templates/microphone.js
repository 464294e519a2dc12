// The microphone, at the model's rate.

import { Resampler } from "./resample.js";

// Runs in the browser's audio thread: hands each block of samples over.
const WORKLET = `registerProcessor("blocks", class extends AudioWorkletProcessor {
  process([[samples]]) { if (samples) this.port.postMessage(samples.slice()); return true; }
});`;
const BLOCK = 1024;

/** Why there is no microphone here, or "". */
export function whyNoMicrophone(scope) {
  if (scope.navigator.mediaDevices?.getUserMedia) return "";
  return scope.isSecureContext
    ? "This browser has no microphone for pages."
    : "Browsers give the microphone only to pages that come by https or from this device itself: put this file on any " +
        "https server.";
}

/**
 * Starts the microphone.
 * @param {number} rate samples a second
 * @param {(samples: number[]) => void} take is called with samples from -1 to 1
 * @returns {Promise<() => void>} stops it
 */
export async function startMicrophone(rate, take) {
  const reason = whyNoMicrophone(window);
  if (reason) throw new Error(reason);
  // What a browser does for calls changes the sound.
  const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  // Made before anything is waited for, as long as the page has been clicked at.
  const context = new AudioContext();
  const stream = await navigator.mediaDevices.getUserMedia({ audio: { ...plain, channelCount: 1 } });
  const resampler = new Resampler(context.sampleRate, rate);
  const same = context.sampleRate === rate;
  const heard = (samples) => take(same ? samples : resampler.push(samples));
  const source = context.createMediaStreamSource(stream);
  const node = (await workletOf(context, heard)) ?? processorOf(context, heard);
  source.connect(node).connect(context.destination);
  await context.resume();
  return () => {
    stream.getTracks().forEach((track) => track.stop());
    context.close();
  };
}

/** A node in the audio thread; null where the browser has none. */
async function workletOf(context, heard) {
  if (!context.audioWorklet) return null;
  try {
    await context.audioWorklet.addModule(`data:text/javascript,${encodeURIComponent(WORKLET)}`);
  } catch {
    return null;
  }
  const node = new AudioWorkletNode(context, "blocks");
  node.port.onmessage = ({ data }) => heard(data);
  return node;
}

/** The same of browsers of before, in the page's own thread. */
function processorOf(context, heard) {
  const node = context.createScriptProcessor(BLOCK, 1, 1);
  node.onaudioprocess = ({ inputBuffer }) => heard(inputBuffer.getChannelData(0).slice());
  return node;
}
