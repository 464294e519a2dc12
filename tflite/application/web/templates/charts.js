// Drawings over time: traces of inputs, curves of outputs, strips of what is said. The time is in samples.

import { firstAbove } from "./bytes.js";

const LEFT = 56;
const RIGHT = 10;
const BOTTOM = 18;

/** A canvas of the size that it has on the page, cleared. */
export class Chart {
  constructor(canvas) {
    this.canvas = canvas;
  }

  /** Begins a drawing of a stretch of time. */
  begin(view, theme) {
    const { canvas } = this;
    const ratio = window.devicePixelRatio || 1;
    const { clientWidth: width, clientHeight: height } = canvas;
    if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
      canvas.width = Math.round(width * ratio);
      canvas.height = Math.round(height * ratio);
    }
    this.pen = canvas.getContext("2d");
    this.pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    this.pen.clearRect(0, 0, width, height);
    this.pen.font = "11px system-ui, sans-serif";
    this.pen.lineJoin = "round";
    this.view = view;
    this.theme = theme;
    this.box = { left: LEFT, right: width - RIGHT, top: 6, bottom: height - BOTTOM };
  }

  /** Where a time is drawn. */
  x(time) {
    const { left, right } = this.box;
    return left + ((time - this.view.start) / (this.view.end - this.view.start)) * (right - left);
  }

  /** The time at a place. */
  timeAt(x) {
    const { left, right } = this.box;
    return this.view.start + ((x - left) / (right - left)) * (this.view.end - this.view.start);
  }

  y(value) {
    const { top, bottom } = this.box;
    return bottom - ((value - this.low) / (this.high - this.low)) * (bottom - top);
  }

  /** Lines and numbers of both axes; `format` writes a time. */
  axes(low, high, format) {
    [this.low, this.high] = high > low ? [low, high] : [low - 1, high + 1];
    const { pen, theme, box } = this;
    pen.strokeStyle = theme.line;
    pen.fillStyle = theme.quiet;
    pen.lineWidth = 1;
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    for (const value of ticks(this.low, this.high, Math.max(3, (box.bottom - box.top) / 30))) {
      const y = Math.round(this.y(value)) + 0.5;
      pen.beginPath();
      pen.moveTo(box.left, y);
      pen.lineTo(box.right, y);
      pen.stroke();
      pen.fillText(shortNumber(value), box.left - 6, y);
    }
    this.timeAxis(format);
  }

  timeAxis({ perSecond, unit }) {
    const { pen, theme, box, view } = this;
    pen.fillStyle = theme.quiet;
    pen.textAlign = "center";
    pen.textBaseline = "alphabetic";
    const seconds = ticks(view.start / perSecond, view.end / perSecond, (box.right - box.left) / 80);
    const shown = seconds.filter(
      (value) => this.x(value * perSecond) > box.left + 4 && this.x(value * perSecond) < box.right - 16,
    );
    // The unit is said once, with the last.
    shown.forEach((value, i) => {
      const last = i === shown.length - 1;
      pen.textAlign = last ? "right" : "center";
      const number = shortNumber(value);
      const x =
        this.x(value * perSecond) + (last ? pen.measureText(number).width / 2 + pen.measureText(` ${unit}`).width : 0);
      const fits = Math.min(x, box.right + RIGHT - 2);
      pen.fillText(last ? `${number} ${unit}` : number, fits, box.bottom + 13);
    });
  }

  /** A line at a threshold, if there is a single one. */
  level(value) {
    if (typeof value !== "number" || value < this.low || value > this.high) return;
    const { pen, theme, box } = this;
    pen.strokeStyle = theme.quiet;
    pen.lineWidth = 1;
    pen.setLineDash([2, 3]);
    pen.beginPath();
    pen.moveTo(box.left, this.y(value));
    pen.lineTo(box.right, this.y(value));
    pen.stroke();
    pen.setLineDash([]);
  }

  /** Clips what follows to the times up to the cursor. */
  upTo(time, draw) {
    const { pen, box } = this;
    pen.save();
    pen.beginPath();
    pen.rect(
      box.left,
      box.top - 4,
      Math.max(0, Math.min(this.x(time), box.right) - box.left),
      box.bottom - box.top + 8,
    );
    pen.clip();
    draw();
    pen.restore();
  }

  /** A trace of equally spaced samples: of many in a pixel the least and the largest. */
  trace(numbers, first, column, color) {
    const { pen, box, view } = this;
    const { values, columns, length } = numbers;
    const from = Math.max(0, Math.floor(view.start) - first - 1);
    const to = Math.min(length, Math.ceil(view.end) - first + 1);
    const apart = Math.max(1, Math.floor((view.end - view.start) / (2 * (box.right - box.left))));
    pen.strokeStyle = color;
    pen.lineWidth = 1.4;
    pen.beginPath();
    for (let i = from; i < to; i += apart) {
      let low = Infinity;
      let high = -Infinity;
      for (let k = i; k < Math.min(i + apart, to); ++k) {
        const value = values[k * columns + column];
        if (value < low) low = value;
        if (value > high) high = value;
      }
      const x = this.x(first + i + 1);
      pen.lineTo(x, this.y(high));
      if (low !== high) pen.lineTo(x, this.y(low));
    }
    pen.stroke();
  }

  /** A curve of values at times, as steps that last until the next one; drawn `later`, of forecasts. */
  curve(times, values, column, color, dashed = false, later = 0) {
    const { pen, view } = this;
    const from = Math.max(0, firstAbove(times, view.start - later) - 1);
    const to = Math.min(times.length, firstAbove(times, view.end - later) + 1);
    const apart = Math.max(1, Math.floor((to - from) / 3000));
    pen.strokeStyle = color;
    pen.lineWidth = dashed ? 1.2 : 1.8;
    pen.setLineDash(dashed ? [4, 3] : []);
    pen.beginPath();
    for (let i = from, last = null; i < to; i += apart) {
      const x = this.x(times.values[i] + later);
      const y = this.y(values.values[i * values.columns + column]);
      if (last !== null) pen.lineTo(x, last);
      pen.lineTo(x, y);
      last = y;
      if (i + apart >= to) pen.lineTo(this.box.right, y);
    }
    pen.stroke();
    pen.setLineDash([]);
  }

  /** Joined points `[time, value]`, dashed, with a dot on each if they are few. */
  points(points, color) {
    const { pen } = this;
    pen.strokeStyle = pen.fillStyle = color;
    pen.lineWidth = 1.6;
    pen.setLineDash([3, 3]);
    pen.beginPath();
    for (const [time, value] of points) pen.lineTo(this.x(time), this.y(value));
    pen.stroke();
    pen.setLineDash([]);
    if (points.length > 24) return;
    for (const [time, value] of points.slice(1)) {
      pen.beginPath();
      pen.arc(this.x(time), this.y(value), 2.4, 0, 2 * Math.PI);
      pen.fill();
    }
  }

  /** A bar from one time to another in a row of a strip, with its name where there is room. */
  bar(start, end, top, height, color, name, ink) {
    const { pen, box } = this;
    const left = Math.max(box.left, this.x(start));
    const right = Math.min(box.right, this.x(end));
    if (right <= left) return;
    pen.fillStyle = color;
    pen.fillRect(left, top, Math.max(1.5, right - left - 1), height);
    if (name && height >= 12 && right - left > pen.measureText(name).width + 8) {
      pen.fillStyle = ink;
      pen.textAlign = "left";
      pen.textBaseline = "middle";
      pen.fillText(name, left + 5, top + height / 2 + 0.5);
    }
  }

  /** The name of a row of a strip. */
  rowName(name, middle) {
    const { pen, theme } = this;
    pen.fillStyle = theme.quiet;
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    pen.fillText(shorten(pen, name, LEFT - 8), LEFT - 6, middle);
  }

  /** The present. */
  cursor(time) {
    const { pen, theme, box } = this;
    const x = this.x(time);
    if (x < box.left || x > box.right + 1) return;
    pen.strokeStyle = theme.ink;
    pen.lineWidth = 1;
    pen.beginPath();
    pen.moveTo(x, box.top - 4);
    pen.lineTo(x, box.bottom);
    pen.stroke();
  }
}

/** Round numbers from `low` to `high`, about so many. */
export function ticks(low, high, count) {
  const rough = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((each) => each * power >= rough) * power;
  const found = [];
  for (let i = Math.ceil(low / step); i * step <= high + step * 1e-6; ++i) found.push(i * step);
  return found;
}

/** A number in a few characters. */
export function shortNumber(value) {
  const size = Math.abs(value);
  if (size !== 0 && (size >= 1e6 || size < 1e-3)) return value.toExponential(1).replace("e+", "e");
  return String(Number(value.toPrecision(size >= 1000 ? 5 : 3)));
}

function shorten(pen, text, width) {
  if (pen.measureText(text).width <= width) return text;
  let end = text.length - 1;
  while (end > 1 && pen.measureText(`${text.slice(0, end)}…`).width > width) --end;
  return `${text.slice(0, end)}…`;
}
