// The page: starts the device, checks it, and connects what it is fed with to what is shown.

import { decodeArray } from "./bytes.js";
import { shortNumber } from "./charts.js";
import { Device } from "./device.js";
import { sayNow, showScores } from "./now.js";
import { Panels } from "./panels.js";
import { Player } from "./player.js";
import { checkDevice } from "./selfcheck.js";
import { Session } from "./session.js";
import { Sources } from "./source.js";
import { readTheme } from "./theme.js";

const byId = (id) => document.getElementById(id);
// Milliseconds that a sensor may take to begin.
const PATIENCE = 3000;
// Seconds, or samples without a rate, of a recording of which a part is shown.
const LONG = 30;
const number = (value) => Math.round(value).toLocaleString("en");

/** Times in seconds, or in samples where nobody knows how often they come. */
function axisOf({ rate }) {
  const perSecond = rate ?? 1;
  const unit = rate ? "s" : "samples";
  const digits = (time) => (rate ? (time < 1 ? 2 : 1) : 0);
  return {
    perSecond,
    unit,
    span: (samples) => `${(samples / perSecond).toFixed(digits(samples / perSecond))} ${unit}`,
  };
}

class Page {
  constructor(model, device) {
    this.model = model;
    this.device = device;
    this.axis = axisOf(model);
    this.theme = readTheme();
    this.session = null;
    this.player = null;
    this.stopLive = null;
    this.panels = new Panels(byId("charts"), model, (time) => this.seek(time));
    this.sources = new Sources(model, {
      play: (recording) => this.play(recording),
      live: (start) => this.live(start),
      say: (text) => this.say(text),
      changeRate: () => (this.axis = axisOf(model)),
    });
    this.setControls();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.retheme());
    window.addEventListener("resize", () => this.draw());
  }

  setControls() {
    byId("play").addEventListener("click", () => this.toggle());
    byId("restart").addEventListener("click", () => this.seek(0));
    byId("stop").addEventListener("click", () => this.endLive());
    byId("speed").addEventListener("change", ({ target }) => this.player && (this.player.speed = Number(target.value)));
    byId("span").addEventListener("change", () => {
      this.spanChosen = true;
      this.draw();
    });
    byId("seek").addEventListener("input", ({ target }) => this.seek(Number(target.value)));
    byId("save").addEventListener("click", () => this.save());
    document.addEventListener("keydown", (event) => {
      if (event.key !== " " || event.target.closest("button, input, select, summary, a")) return;
      event.preventDefault();
      this.toggle();
    });
  }

  /** Plays a recording from its start. */
  play({ name, samples, truth = null, notes = [] }) {
    this.endLive();
    this.player?.stop();
    this.name = name;
    this.session = new Session(this.device, this.model, { truth });
    this.player = new Player(this.session, samples, this.axis.perSecond, () => this.draw());
    this.player.speed = Number(byId("speed").value);
    byId("seek").max = String(this.player.length);
    byId("playing").textContent = [name, this.axis.span(this.player.length), ...notes].join(" · ");
    if (!this.spanChosen)
      byId("span").value = this.player.length > LONG * this.axis.perSecond ? String(this.model.spans[3]) : "0";
    this.setMode(false);
    if (matchMedia("(prefers-reduced-motion: reduce)").matches)
      this.player.done.then(() => this.seek(this.player.length));
    else this.player.play();
  }

  /** Feeds the device from sensors, until it is stopped. */
  async live(start) {
    this.endLive();
    this.player?.stop();
    this.player = null;
    this.name = "live";
    const session = (this.session = new Session(this.device, this.model, { endless: true }));
    const take = (samples) => {
      if (this.session !== session) return;
      session.pushAll(samples);
      this.draw();
    };
    try {
      const stop = await start(take);
      if (this.session !== session) return stop();
      this.stopLive = stop;
      this.say("");
      byId("playing").textContent = "live";
      this.setMode(true);
      setTimeout(
        () =>
          this.session === session &&
          !session.count &&
          this.say("No sample has come yet: this device may have no such sensor."),
        PATIENCE,
      );
    } catch (error) {
      this.say(error.message);
    }
  }

  endLive() {
    this.stopLive?.();
    this.stopLive = null;
    byId("stop").hidden = true;
  }

  setMode(live) {
    byId("stop").hidden = !live;
    for (const id of ["play", "restart", "speed", "seek"]) byId(id).disabled = live;
  }

  toggle() {
    this.player?.toggle();
  }

  seek(time) {
    this.player?.seek(time);
  }

  say(text) {
    byId("message").textContent = text;
    byId("message").hidden = !text;
  }

  retheme() {
    this.theme = readTheme();
    this.draw();
  }

  /** Draws with the next frame. */
  draw() {
    if (this.asked || !this.session) return;
    this.asked = true;
    requestAnimationFrame(() => {
      this.asked = false;
      this.drawNow();
    });
  }

  drawNow() {
    const { session, player, theme, axis } = this;
    const cursor = player ? player.cursor : session.count;
    this.panels.draw(session, this.viewAt(cursor), cursor, theme, axis);
    const { text, note, label } = sayNow(session, cursor, axis);
    setText("said", text);
    setText("since", note);
    byId("said").style.color = label >= 0 ? theme.of(label) : "";
    showScores(byId("scores"), session, cursor, theme);
    byId("seek").value = String(cursor);
    byId("seek").setAttribute("aria-valuetext", axis.span(cursor));
    setText("time", player ? `${axis.span(cursor)} of ${axis.span(player.length)}` : axis.span(cursor));
    setText("play", player?.playing ? "Pause" : "Play");
    setText("cost", this.cost());
    const refused = this.device.countRefused();
    if (refused)
      this.say(`${number(refused)} samples held a token outside its table; the device refused them and started anew.`);
  }

  /** The stretch of time that is shown: all of a recording, or so many seconds up to the cursor and some behind it. */
  viewAt(cursor) {
    const { session, player, axis } = this;
    const length = player ? player.length : session.count;
    const chosen = Number(byId("span").value);
    const span = (chosen || (player ? length / axis.perSecond : 10)) * axis.perSecond;
    if (player && span >= length) return { start: 0, end: length * (this.model.ahead ? 1 + 0.06 : 1) };
    const ahead = player ? 0.2 * span : this.model.ahead;
    const end = Math.max(span, cursor + ahead);
    return { start: end - span, end };
  }

  /** What a sample costs in this browser, and of the time until the next one how much. */
  cost() {
    const { microseconds } = this.session;
    const { rate } = this.model;
    if (!microseconds) return "–";
    const share = rate ? ` (${shortNumber((microseconds * rate) / 1e4)}%)` : "";
    return `${shortNumber(microseconds)} µs${share}`;
  }

  /** Lets the integers that came out be saved as a file. */
  save() {
    if (!this.session) return;
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([this.session.toCsv()], { type: "text/csv" }));
    link.download = `${this.name.replace(/\.\w+$/, "").replace(/[^\p{L}\p{N}]+/gu, "-")}-results.csv`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }
}

function setText(id, text) {
  const element = byId(id);
  if (element.textContent !== text) element.textContent = text;
}

/** Writes down what the check has found. */
function showCheck({ integers, differing, first, milliseconds }) {
  const check = byId("check");
  check.dataset.differing = String(differing);
  check.className = differing ? "check bad" : "check good";
  check.textContent = `${number(differing)} of ${number(integers)} integers differ`;
  byId("check-detail").textContent = differing
    ? `This browser does not compute what the device does: ${first}.`
    : `Outputs, states and decisions are those of the golden vectors, bit for bit (${milliseconds.toFixed(0)} ms).`;
}

/** Golden vectors as arrays. */
function readGolden(packed) {
  const read = (part) =>
    part &&
    Object.fromEntries(
      Object.entries(part).map(([key, value]) => [key, value?.data === undefined ? value : decodeArray(value)]),
    );
  return { model: read(packed.model), application: read(packed.application), decisions: read(packed.decisions) };
}

/** Starts the page; what went wrong stands where the check would. */
async function start() {
  const model = JSON.parse(byId("data").textContent);
  try {
    const device = await Device.load(model.wasm, model.sizes);
    const check = checkDevice(device, readGolden(model.golden));
    showCheck(check);
    byId("state-bytes").textContent = `${number(device.stateBytes)} bytes`;
    const page = new Page(model, device);
    if (model.recordings.length) page.sources.playRecording(0);
    return { check, page };
  } catch (error) {
    byId("check").className = "check bad";
    byId("check").textContent = `The device cannot run here: ${error.message}`;
    throw error;
  }
}

// For tests, and for whoever looks into the page.
window.device = { started: start() };
