// What the device is fed with: recordings of the page, files, a phone's sensors, the microphone.

import { Numbers, decodeArray } from "./bytes.js";
import { OtherRateError, readFile } from "./files.js";
import { startMicrophone, whyNoMicrophone } from "./microphone.js";
import { MOTIONS, guessMotion, startMotion, whyNoMotion } from "./motion.js";

const byId = (id) => document.getElementById(id);
// Samples a second: no microphone is asked for fewer, and phones measure motion less often than that.
const LOWEST_SOUND = 1000;
const FASTEST_MOTION = 200;
const UNKNOWN_RATE = "Say above how many samples a second the model takes.";
const TOO_FAST = "Phones measure motion some 60 times a second; this model wants more.";

/** The four ways to feed a device, and their controls. */
export class Sources {
  /**
   * @param {object} model facts of the page
   * @param {object} tell `play(recording)`, `live(start)`, where `start(take)` returns what stops it, `say(text)`, and
   *   `changeRate()`
   */
  constructor(model, tell) {
    this.model = model;
    this.tell = tell;
    this.setRecordings();
    this.setFiles();
    this.setMotion();
    this.setMicrophone();
    this.setRate();
    for (const button of document.querySelectorAll('[name="source"]')) {
      button.addEventListener("change", () => this.show(button.value));
    }
  }

  /** Shows the controls of one way. */
  show(kind) {
    for (const panel of document.querySelectorAll("[data-source]")) panel.hidden = panel.dataset.source !== kind;
  }

  /** Where nobody has said how often samples come, whoever sees the page can. */
  setRate() {
    byId("rate-row").hidden = Boolean(this.model.rate);
    byId("rate").addEventListener("change", ({ target }) => {
      this.model.rate = Number(target.value) > 0 ? Number(target.value) : null;
      this.tell.changeRate();
      this.showHints();
      if (this.played !== undefined) this.playRecording(this.played);
    });
    this.showHints();
  }

  /** What each way takes, and why it cannot be gone. */
  showHints() {
    const { features, rate } = this.model;
    const alone = features.length === 1;
    byId("file-hint").textContent =
      `CSV with ${alone ? "a column" : "columns"} ${features.map(({ name }) => name).join(", ")} (or as many columns ` +
      `in this order) and, if you like, time in seconds; or WAV${alone ? "" : ` with ${features.length} channels`}` +
      `${rate ? `; ${rate.toLocaleString("en")} samples a second` : ""}.`;
    const motion = !rate ? UNKNOWN_RATE : rate > FASTEST_MOTION ? TOO_FAST : whyNoMotion(window);
    const microphone = !rate ? UNKNOWN_RATE : whyNoMicrophone(window);
    for (const [id, reason] of [
      ["motion", motion],
      ["microphone", microphone],
    ]) {
      byId(`${id}-hint`).textContent = reason;
      byId(id).disabled = Boolean(reason);
    }
    byId("source-microphone").parentElement.hidden = !alone || (rate !== null && rate < LOWEST_SOUND);
  }

  setRecordings() {
    const list = byId("recording");
    this.model.recordings.forEach(({ name }, i) => list.append(new Option(name, String(i))));
    list.addEventListener("change", () => this.playRecording(Number(list.value)));
  }

  playRecording(index) {
    this.played = index;
    const { name, samples, truth, note } = this.model.recordings[index];
    this.tell.play({
      name,
      samples: Float64Array.from(decodeArray(samples)),
      truth: truth && readTruth(truth),
      notes: note ? [note] : [],
    });
  }

  setFiles() {
    byId("integers-row").hidden = !this.model.features.some(({ kind }) => kind === "sensor");
    byId("file").addEventListener("change", ({ target }) => target.files[0] && this.readFile(target.files[0]));
    byId("resample").addEventListener("click", () => this.readFile(this.refused, true));
    byId("integers").addEventListener("change", () => this.opened && this.readFile(this.opened));
    document.addEventListener("dragover", (event) => event.preventDefault());
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      if (!event.dataTransfer.files.length) return;
      byId("source-file").checked = true;
      this.show("file");
      this.readFile(event.dataTransfer.files[0]);
    });
  }

  /** Plays a file, or says why it cannot be played. */
  async readFile(file, resample = false) {
    byId("resample").hidden = true;
    this.opened = file;
    this.played = undefined;
    try {
      this.tell.play(await readFile(file, this.model, { resample, integers: byId("integers").checked }));
      this.tell.say("");
    } catch (error) {
      this.tell.say(error.message);
      if (!(error instanceof OtherRateError)) return;
      this.refused = file;
      byId("resample").hidden = false;
    }
  }

  setMotion() {
    const { features } = this.model;
    const rows = byId("motion-rows");
    this.chosen = features.map((feature, i) => guessMotion(feature, i));
    features.forEach((feature, i) => {
      const label = document.createElement("label");
      const list = document.createElement("select");
      list.append(new Option("stays 0", "-1"), ...MOTIONS.map(({ name }, motion) => new Option(name, String(motion))));
      list.value = String(this.chosen[i]);
      list.addEventListener("change", () => (this.chosen[i] = Number(list.value)));
      label.append(`${feature.name} `, list);
      rows.append(label);
    });
    byId("motion").addEventListener("click", () =>
      this.tell.live((take) => startMotion(features, this.chosen, this.model.rate, take)),
    );
  }

  setMicrophone() {
    byId("microphone").addEventListener("click", () =>
      this.tell.live((take) => startMicrophone(this.model.rate, take)),
    );
  }
}

/** The labels of a recording: spans of classes, or quantities at times. */
function readTruth({ spans, times, values, columns }) {
  if (spans) return { spans };
  const numbers = (array, width) => {
    const found = new Numbers(Float32Array, width);
    found.values = Float32Array.from(decodeArray(array));
    found.length = found.values.length / width;
    return found;
  };
  return { times: numbers(times, 1), values: numbers(values, columns) };
}
