// The device: the firmware's own C, compiled to WebAssembly. All that goes in and comes out of it are integers.

import { decodeBytes } from "./bytes.js";

/** The application and the model of one page. */
export class Device {
  /**
   * @param {WebAssembly.Exports} exports of board_web.c
   * @param {object} sizes integers of a sample, result, decision; of the model's inputs and states; of scores
   */
  constructor(exports, sizes) {
    this.exports = exports;
    this.sizes = sizes;
    this.sample = this.view(exports.page_sample(), sizes.features);
    this.results = this.view(exports.page_results(), sizes.results);
    this.decided = sizes.decided ? this.view(exports.page_decided(), sizes.decided) : new Int32Array(0);
    this.start();
  }

  /** Compiles the module of a base64 text. */
  static async load(text, sizes) {
    const { instance } = await WebAssembly.instantiate(decodeBytes(text), {});
    return new Device(instance.exports, sizes);
  }

  /** Starts the application with nothing remembered. */
  start() {
    this.exports.page_start();
    this.refused = 0;
  }

  /** The next sample does not follow the last one. */
  gap() {
    this.exports.page_gap();
  }

  /** Puts `sample` in, and says whether `results` and `decided` are new. */
  put() {
    return this.exports.page_put() > 0;
  }

  /** How many samples held a token outside its table. */
  countRefused() {
    return this.exports.page_refused();
  }

  /** Bytes of the struct that a stream needs on a device. */
  get stateBytes() {
    return this.exports.model_page_bytes();
  }

  /** Integers in the memory of the module, which never grows. */
  view(address, count) {
    return new Int32Array(this.exports.memory.buffer, address, count);
  }
}
