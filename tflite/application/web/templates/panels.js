// The charts of a page: a panel for each sensor, one for each output, and one for what is said.

import { Chart } from "./charts.js";
import { firstAbove } from "./bytes.js";

const ROW = 17;
// More labels than these share one row.
const MOST_ROWS = 12;

/** All charts of one session. */
export class Panels {
  /**
   * @param {HTMLElement} parent
   * @param {object} model facts of the page
   * @param {(time: number) => void} seek is called with the time that is clicked at
   */
  constructor(parent, model, seek) {
    this.model = model;
    this.seek = seek;
    parent.replaceChildren();
    this.inputs = groupsOf(model.features).map((group) => ({
      ...group,
      ...addPanel(parent, group.title, group.names, 116, this),
    }));
    this.outputs = model.outputs.flatMap((output, index) =>
      partsOf(output).map((part) => ({
        index,
        output,
        columns: part.columns,
        ...addPanel(parent, part.title, part.names, part.height, this),
      })),
    );
    const rows = stripRows(model);
    this.strip = rows ? { rows, ...addPanel(parent, "What is said", [], stripHeight(rows, true), this) } : null;
  }

  /** Draws a stretch of time of a session, up to a cursor. */
  draw(session, view, cursor, theme, axis) {
    for (const panel of this.inputs) this.drawInputs(panel, session, view, cursor, theme, axis);
    for (const panel of this.outputs) this.drawOutput(panel, session, view, cursor, theme, axis);
    if (this.strip) this.drawStrip(session, view, cursor, theme, axis);
  }

  drawInputs(panel, session, view, cursor, theme, axis) {
    const { chart, columns } = panel;
    const [low, high] = extent(panel, session.inputs, columns);
    chart.begin(view, theme);
    chart.axes(low, high, axis);
    chart.upTo(cursor, () =>
      columns.forEach((column, i) => chart.trace(session.inputs, session.first, column, theme.of(i))),
    );
    this.drawForecast(panel, session, cursor, theme);
    chart.cursor(cursor);
    colorLegend(panel, theme);
    setNote(panel, session.curves.some(({ output }) => output.horizon) ? "dashed: forecasts" : "");
  }

  /** The last forecast, from the present on; and of those before, dashed, how they ended. */
  drawForecast({ chart, columns }, session, cursor, theme) {
    for (const { output, times, values } of session.curves) {
      if (!output.horizon) continue;
      const { horizon } = output;
      const width = session.features.length;
      chart.upTo(cursor, () =>
        columns.forEach((column, i) => {
          chart.curve(times, values, (horizon - 1) * width + column, theme.of(i), true, horizon);
        }),
      );
      const index = firstAbove(times, cursor) - 1;
      if (index < 0) continue;
      const row = values.row(index);
      const now = times.values[index];
      columns.forEach((column, i) => {
        const last = session.inputs.values[(now - 1 - session.first) * width + column];
        const ahead = Array.from({ length: horizon }, (_, h) => [now + h + 1, row[h * width + column]]);
        chart.points([[now, last], ...ahead], theme.of(i));
      });
    }
  }

  drawOutput(panel, session, view, cursor, theme, axis) {
    const { chart, output, index, columns } = panel;
    const { times, values } = session.curves[index];
    const truth =
      index === this.model.decides && session.truth?.values?.columns === output.columns ? session.truth : null;
    const threshold = index === this.model.decides ? this.model.decision?.threshold : null;
    const known = truth ? Array.from(columns, (column) => truth.values.values[column]) : [];
    if (typeof threshold === "number") known.push(threshold);
    const [low, high] = output.bars ? [0, 1] : extent(panel, values, columns, known);
    chart.begin(view, theme);
    chart.axes(low, high, axis);
    chart.level(threshold);
    chart.upTo(cursor, () => {
      for (const column of columns) {
        chart.curve(times, values, column, theme.of(column));
        if (truth) chart.curve(truth.times, truth.values, column, theme.of(column), true);
      }
    });
    chart.cursor(cursor);
    colorLegend(panel, theme);
    setNote(panel, truth ? "dashed: label" : "");
  }

  drawStrip(session, view, cursor, theme, axis) {
    const { chart, rows } = this.strip;
    chart.canvas.style.height = `${stripHeight(rows, Boolean(session.truth?.spans))}px`;
    chart.begin(view, theme);
    const spans = saidSpans(session, view, cursor);
    if (rows.length) {
      rows.forEach((name, label) => {
        const top = chart.box.top + label * ROW;
        chart.rowName(name, top + ROW / 2 - 1);
        this.drawTruth(session, label, top + ROW - 6, 3, theme);
        for (const [start, end, labels] of spans) {
          if (labels.includes(label)) chart.bar(start, end, top, ROW - 8, theme.of(label), "", theme.onColor);
        }
      });
    } else {
      chart.rowName("said", chart.box.top + 12);
      for (const [start, end, labels] of spans) {
        for (const label of labels) {
          chart.bar(start, end, chart.box.top + 2, 20, theme.of(label), this.model.classes[label], theme.onColor);
        }
      }
      if (session.truth?.spans) {
        chart.rowName("label", chart.box.top + 36);
        session.truth.spans.forEach(
          ([, , label]) => label >= 0 && this.drawTruth(session, label, chart.box.top + 27, 18, theme),
        );
      }
    }
    chart.timeAxis(axis);
    chart.cursor(cursor);
  }

  /** What a recording says of a label. */
  drawTruth(session, label, top, height, theme) {
    const { chart } = this.strip;
    for (const [start, end, own] of session.truth?.spans ?? []) {
      if (own === label) chart.bar(start, end, top, height, theme.of(label), this.model.classes[label], theme.onColor);
    }
  }
}

/** Features of one sensor, which share a chart. */
function groupsOf(features) {
  const groups = [];
  features.forEach((feature, column) => {
    let group = groups.find(({ key }) => key === feature.group);
    if (!group) groups.push((group = { key: feature.group, title: feature.group, names: [], columns: [] }));
    group.names.push(feature.short);
    group.columns.push(column);
    if (feature.unitName) group.title = `${feature.group} in ${feature.unitName}`;
  });
  return groups;
}

/** The charts of an output: quantities have units of their own and one each; forecasts are drawn with the inputs. */
function partsOf(output) {
  const columns = Array.from({ length: output.columns }, (_, i) => i);
  if (output.horizon) return [];
  if (!output.gains) return [{ title: output.title, names: output.names, columns, height: 132 }];
  return columns.map((column) => ({ title: output.names[column], names: [], columns: [column], height: 104 }));
}

/** Names of the rows of a strip: of several labels one each, of classes none; null where nothing is said. */
function stripRows({ classes, decision, outputs, decides }) {
  if (!classes.length) return null;
  const alone = decision ? decision.kind === "class" : outputs[decides].activation === "softmax";
  return alone || classes.length > MOST_ROWS ? [] : classes;
}

function stripHeight(rows, hasTruth) {
  return 26 + (rows.length ? rows.length * ROW : hasTruth ? 46 : 24);
}

/** `[from, to, labels]` of what is said; of events each for a moment. */
function saidSpans(session, view, cursor) {
  const { decision } = session.model;
  if (decision?.kind === "wake word") {
    const moment = Math.max(1, (view.end - view.start) / 150);
    return session.events.filter(({ at }) => at <= cursor).map(({ at, label }) => [at, at + moment, [label]]);
  }
  return session.said
    .map(([at, labels], i) => [at, Math.min(session.said[i + 1]?.[0] ?? session.count, cursor), labels])
    .filter(([start, end]) => end > start);
}

/** The least and the largest of columns and of other numbers, remembered from one drawing to the next. */
function extent(panel, numbers, columns, others = []) {
  if (panel.source !== numbers || numbers.length < panel.seen) {
    Object.assign(panel, { source: numbers, seen: 0, low: Math.min(...others), high: Math.max(...others) });
  }
  for (; panel.seen < numbers.length; ++panel.seen) {
    for (const column of columns) {
      const value = numbers.values[panel.seen * numbers.columns + column];
      if (value < panel.low) panel.low = value;
      if (value > panel.high) panel.high = value;
    }
  }
  if (!(panel.high >= panel.low)) return [0, 1];
  const margin = 0.06 * (panel.high - panel.low);
  return [panel.low - margin, panel.high + margin];
}

/** A title with a legend, and a canvas below. */
function addPanel(parent, title, names, height, { seek }) {
  const figure = document.createElement("figure");
  const caption = document.createElement("figcaption");
  const heading = document.createElement("span");
  heading.className = "title";
  heading.textContent = title;
  caption.append(heading);
  const swatches = (names.length > 1 ? names : []).map((name) => {
    const entry = document.createElement("span");
    entry.className = "entry";
    const swatch = document.createElement("i");
    entry.append(swatch, name);
    caption.append(entry);
    return swatch;
  });
  const canvas = document.createElement("canvas");
  canvas.style.height = `${height}px`;
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", `${title} over time${names.length > 1 ? `: ${names.join(", ")}` : ""}`);
  const note = document.createElement("span");
  caption.append(note);
  figure.append(caption, canvas);
  parent.append(figure);
  const chart = new Chart(canvas);
  const follow = (event) => event.buttons && seek(chart.timeAt(event.offsetX));
  canvas.addEventListener("pointerdown", (event) => seek(chart.timeAt(event.offsetX)));
  canvas.addEventListener("pointermove", follow);
  return { chart, swatches, note };
}

function colorLegend({ swatches }, theme) {
  swatches.forEach((swatch, i) => (swatch.style.background = theme.of(i)));
}

/** What dashes are, if there are any. */
function setNote({ note }, text) {
  if (note.textContent !== text) note.textContent = text;
}
