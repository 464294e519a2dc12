// What the device is fed with: recordings of the page, files, a phone's sensors, the microphone.

import { Numbers, decodeArray } from "./bytes.js";
import { OtherRateError, readFile } from "./files.js";
import { startMicrophone, whyNoMicrophone } from "./microphone.js";
import { MOTIONS, guessMotion, startMotion, whyNoMotion } from "./motion.js";

const byId = (id) => document.getElementById(id);
// Without a rate, and for features of any kind, there is none of these.
const LOWEST_SOUND = 1000;

/** The four ways to feed a device, and their controls. */
export class Sources {
  /**
   * @param {object} model facts of the page
   * @param {object} tell `play(recording)`, `live(start)`, where `start(take)` returns what stops it, and `say(text)`
   */
  constructor(model, tell) {
    this.model = model;
    this.tell = tell;
    this.setRecordings();
    this.setFiles();
    this.setMotion();
    this.setMicrophone();
    for (const button of document.querySelectorAll('[name="source"]')) {
      button.addEventListener("change", () => this.show(button.value));
    }
  }

  /** Shows the controls of one way. */
  show(kind) {
    for (const panel of document.querySelectorAll("[data-source]")) panel.hidden = panel.dataset.source !== kind;
  }

  setRecordings() {
    const list = byId("recording");
    this.model.recordings.forEach(({ name }, i) => list.append(new Option(name, String(i))));
    list.addEventListener("change", () => this.playRecording(Number(list.value)));
  }

  playRecording(index) {
    const { name, samples, truth, note } = this.model.recordings[index];
    this.tell.play({ name, samples: Float64Array.from(decodeArray(samples)), truth: truth && readTruth(truth), notes: note ? [note] : [] });
  }

  setFiles() {
    const { features, rate } = this.model;
    const sensors = features.some(({ kind }) => kind === "sensor");
    byId("integers-row").hidden = !sensors;
    byId("file-hint").textContent =
      `CSV with ${features.length === 1 ? "a column" : "columns"} ${features.map(({ name }) => name).join(", ")} ` +
      `(or as many columns in this order)${features.length === 1 || !rate ? "" : " and, if you like, time in seconds"}` +
      `, or WAV${features.length === 1 ? "" : ` with ${features.length} channels`}${rate ? `, ${rate.toLocaleString("en")} samples a second` : ""}.`;
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
    const { features, rate } = this.model;
    const reason = rate ? (rate > 200 ? "Phones measure motion some 60 times a second; this model wants more." : whyNoMotion(window))
      : "The page does not know how often the model's samples come.";
    byId("motion-hint").textContent = reason;
    byId("motion").disabled = Boolean(reason);
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
    byId("motion").addEventListener("click", () => this.tell.live((take) => startMotion(features, this.chosen, rate, take)));
  }

  setMicrophone() {
    const { features, rate } = this.model;
    const sound = features.length === 1 && rate >= LOWEST_SOUND;
    byId("source-microphone").parentElement.hidden = !sound;
    const reason = whyNoMicrophone(window);
    byId("microphone-hint").textContent = reason;
    byId("microphone").disabled = Boolean(reason);
    byId("microphone").addEventListener("click", () => this.tell.live((take) => startMicrophone(rate, take)));
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
