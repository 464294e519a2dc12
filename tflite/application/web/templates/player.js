// Plays a recording at its own speed, faster or slower; the device runs ahead of what is shown.

// Milliseconds of computing at a time, so that the page stays responsive.
const SLICE = 12;
// Seconds between two drawings; a page that was not looked at waits.
const LONGEST = 0.25;

/** Feeds a recording to a session, and moves a cursor over it. */
export class Player {
  /**
   * @param {Session} session
   * @param {Float64Array} samples `[count, features]`
   * @param {number} rate samples a second
   * @param {() => void} changed is called when there is something new to draw
   */
  constructor(session, samples, rate, changed) {
    this.session = session;
    this.samples = samples;
    this.rate = rate;
    this.changed = changed;
    this.length = samples.length / session.features.length;
    this.cursor = 0;
    this.speed = 1;
    this.playing = false;
    this.stopped = false;
    this.done = new Promise((resolve) => (this.finish = resolve));
    this.compute();
  }

  /** Runs the device a little further. */
  compute() {
    if (this.stopped) return;
    const { session, samples, length } = this;
    const until = performance.now() + SLICE;
    while (session.count < length && performance.now() < until) {
      const width = session.features.length;
      session.pushAll(samples.subarray(session.count * width, (session.count + 64) * width));
    }
    if (session.count < length) {
      setTimeout(() => this.compute(), 0);
    } else {
      this.finish();
      this.changed();
    }
  }

  toggle() {
    if (this.playing) this.pause();
    else this.play();
  }

  play() {
    if (this.cursor >= this.length) this.cursor = 0;
    this.playing = true;
    this.last = null;
    requestAnimationFrame((now) => this.advance(now));
    this.changed();
  }

  pause() {
    this.playing = false;
    this.changed();
  }

  seek(sample) {
    this.cursor = Math.min(Math.max(0, sample), this.length);
    this.changed();
  }

  /** Leaves the recording for another one. */
  stop() {
    this.stopped = true;
    this.playing = false;
  }

  advance(now) {
    if (!this.playing) return;
    const passed = this.last === null ? 0 : Math.min((now - this.last) / 1000, LONGEST);
    this.last = now;
    this.cursor = Math.min(this.cursor + passed * this.rate * this.speed, this.session.count);
    if (this.cursor >= this.length) this.playing = false;
    else requestAnimationFrame((later) => this.advance(later));
    this.changed();
  }
}
