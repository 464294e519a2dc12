// What the device says at the cursor: in words, and all scores as bars or numbers.

import { firstAbove } from "./bytes.js";
import { shortNumber } from "./charts.js";

// Of more classes only the likeliest are listed.
const MOST = 10;

/** The words for what is said: `{text, note, label}`. */
export function sayNow(session, time, axis) {
  const { model } = session;
  if (!firstAbove(session.resultTimes, time)) {
    return { text: "listening…", note: waiting(session, time, axis), label: -1 };
  }
  if (!model.classes.length) return { text: "", note: "", label: -1 };
  if (model.decision?.kind === "wake word") return sayEvent(session, time, axis);
  const now = session.saidAt(time);
  const label = now?.labels[0] ?? -1;
  const text = now?.labels.length ? now.labels.map((each) => model.classes[each]).join(", ") : "nothing";
  return { text, note: now ? `since ${axis.span(time - now.since)}${delayOf(session, now, axis)}` : "", label };
}

/** The last event, for as long as two seconds. */
function sayEvent(session, time, axis) {
  const last = session.events.filter(({ at }) => at <= time).at(-1);
  if (!last) return { text: "nothing yet", note: "", label: -1 };
  const fresh = time - last.at < 2 * axis.perSecond;
  const name = session.model.classes[last.label];
  const note = `${name} ${axis.span(time - last.at)} ago`;
  return fresh ? { text: name, note, label: last.label } : { text: "…", note, label: -1 };
}

/** Until the first result. */
function waiting({ model }, time, axis) {
  if (!model.window) return "";
  return `${Math.floor(time)} of ${model.window} samples of a window (${axis.span(model.window)})`;
}

/** How long after the label that a recording has. */
function delayOf({ truth }, { since, labels }, axis) {
  const span = truth?.spans?.find(([start, end, label]) => start < since && since <= end && labels.includes(label));
  return span && span[0] > 0 ? `, ${axis.span(since - span[0])} after the label` : "";
}

/** The scores of an output at a time: bars of probabilities, or numbers. */
export function showScores(list, session, time, theme) {
  const { decides } = session.model;
  const { output, times, values } = session.curves[decides];
  const index = firstAbove(times, time) - 1;
  const row = index < 0 ? new Float32Array(output.columns) : values.row(index);
  const entries = Array.from(row, (value, i) => ({ name: output.names[i] ?? `output ${i}`, value, i })).slice(
    output.horizon ? -session.features.length : 0,
  ); // of forecasts the last step
  const { bars } = output;
  const shown =
    entries.length > MOST && bars ? entries.sort((a, b) => b.value - a.value).slice(0, MOST) : entries.slice(0, 60);
  while (list.children.length > shown.length) list.lastChild.remove();
  while (list.children.length < shown.length) list.append(newEntry());
  shown.forEach(({ name, value, i }, place) => {
    const [label, number, track] = list.children[place].children;
    const text =
      index < 0 ? "–" : bars ? `${(100 * value).toFixed(1)}%` : `${shortNumber(value)} ${output.unitNames?.[i] ?? ""}`;
    if (label.textContent !== name) label.textContent = name;
    if (number.textContent !== text) number.textContent = text;
    track.hidden = !bars;
    track.firstChild.style.width = `${100 * Math.min(1, Math.max(0, value))}%`;
    track.firstChild.style.background = theme.of(i);
  });
}

function newEntry() {
  const entry = document.createElement("li");
  entry.innerHTML = '<span class="name"></span><span class="number"></span><span class="track"><i></i></span>';
  return entry;
}
