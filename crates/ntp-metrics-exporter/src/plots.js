"use strict";
// Formats of values, and plots: axes, curves, bands, and a cursor that the pointer or the keyboard moves.
const SVG = "http://www.w3.org/2000/svg", UNKNOWN = 1e9, $ = id => document.getElementById(id);

// ---- numbers
const UNITS = [[1, "s"], [1e-3, "ms"], [1e-6, "µs"], [1e-9, "ns"]];
function unitOf(value) { const m = Math.abs(value); return UNITS.find(([scale]) => m >= scale * 0.9995) || UNITS[3]; }
function threeDigits(number) { const m = Math.abs(number); return number.toFixed(m >= 99.95 ? 0 : m >= 9.995 ? 1 : 2); }
function valueAndUnit(seconds, signed) {
  if (seconds === null || seconds === undefined || Math.abs(seconds) >= UNKNOWN) return ["–", ""];
  if (Math.abs(seconds) < 5e-10) return ["0", "ns"];
  const [scale, unit] = unitOf(seconds), value = seconds / scale;
  const text = unit === "ns" ? Math.abs(value).toFixed(0) : threeDigits(Math.abs(value));
  return [(value < 0 ? "−" : signed ? "+" : "") + text, unit];
}
function time(seconds, signed) { return valueAndUnit(seconds, signed).join(" ").trim(); }
function count(n) { return Number(n).toLocaleString("en"); }
function span(seconds) {
  const s = Math.round(seconds);
  if (s < 120) return s + " s";
  if (s < 7200) return Math.round(s / 60) + " min";
  if (s < 172800) return Math.round(s / 3600) + " h";
  return Math.round(s / 86400) + " d";
}
function rate(n) { return n >= 100 ? Math.round(n).toLocaleString("en") : n.toFixed(n < 10 ? 1 : 0); }
function clockText(ms, seconds) { return new Date(ms).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: seconds ? "2-digit" : undefined, hour12: false }); }

function dayText(ms) { return new Date(ms).toLocaleDateString([], { month: "short", day: "numeric" }); }
function zoneText() {
  const minutes = -new Date().getTimezoneOffset(), two = n => String(Math.floor(n)).padStart(2, "0");
  const offset = "UTC" + (minutes < 0 ? "−" : "+") + two(Math.abs(minutes) / 60) + ":" + two(Math.abs(minutes) % 60);
  const name = Intl.DateTimeFormat().resolvedOptions().timeZone;
  return !name || name === "UTC" ? "UTC" : name.replace(/_/g, " ") + " (" + offset + ")";
}

// The estimated error is at most the error bound.
function boundedEstimate(estimate, bound) { return estimate > bound ? bound : estimate; }

// ---- elements
function el(name, attributes, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(attributes || {})) node.setAttribute(key, value);
  node.append(...children.filter(child => child !== null));
  return node;
}
function shape(name, attributes, text) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  return node;
}
function readout(id, ...parts) { $(id).replaceChildren(...parts.map(part => typeof part === "string" ? part : el("b", {}, part[0]))); }

// ---- scales
// Errors are microseconds and bounds milliseconds, of both signs: linear within the unit, logarithmic beyond.
function axis(values, quiet, share = 0.6) {
  const finite = values.filter(v => v !== null && isFinite(v)).map(Math.abs), typical = quiet.filter(v => v !== null).map(Math.abs).sort((a, b) => a - b);
  const middle = typical.length ? typical[Math.floor(typical.length * share)] : 1e-6;
  const unit = Math.pow(10, Math.min(0, Math.max(-8, Math.floor(Math.log10(Math.max(middle, 1e-9))))));
  const reach = Math.max(unit * 2, finite.reduce((a, b) => Math.max(a, b), 0));
  const top = Math.asinh(reach / unit) * 1.06;
  return { at: v => Math.asinh(v / unit) / top, unit, reach };
}
function ticks(scale, height) {
  const marks = [0];
  for (let power = Math.round(Math.log10(scale.unit)); Math.pow(10, power) <= scale.reach * 1.05 && power < 6; power++) marks.push(Math.pow(10, power));
  const kept = [0];
  for (const mark of marks.slice(1).reverse()) {
    const y = scale.at(mark) * height / 2;
    if (y > 15 && kept.every(other => other === 0 || Math.abs(scale.at(other) * height / 2 - y) > 20)) kept.push(mark);
  }
  return kept.flatMap(v => v ? [v, -v] : [0]);
}
function tickText(v) { const [scale, unit] = unitOf(v); return v === 0 ? "0" : (v < 0 ? "−" : "+") + Math.round(Math.abs(v) / scale) + " " + unit; }

// ---- plots
function frame(id, points, room) {
  const plot = $(id), svg = plot.firstElementChild, box = plot.getBoundingClientRect(), width = Math.max(box.width, 240), height = Math.max(box.height, 100);
  const left = room, right = 6, top = 8, bottom = 24;
  const end = points.at(-1)[1], start = Math.min(points[0][1], end - 20000);
  const x = t => left + (t - start) / (end - start) * (width - left - right);
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren();
  const steps = [10, 30, 60, 120, 300, 600, 1800, 3600, 10800, 21600].map(s => s * 1000);
  const step = steps.find(s => (end - start) / s <= Math.max(2, (width - left) / 110)) || steps[steps.length - 1];
  const shift = new Date(end).getTimezoneOffset() * 60000;
  for (let t = Math.ceil((start - shift) / step) * step + shift; t <= end; t += step) {
    svg.append(shape("line", { class: "grid", x1: x(t), x2: x(t), y1: top, y2: height - bottom }));
    const place = x(t), anchor = place < left + 24 ? "start" : place > width - 28 ? "end" : "middle";
    svg.append(shape("text", { x: place, y: height - 6, "text-anchor": anchor }, clockText(t, step < 60000)));
  }
  return { plot, svg, x, width, height, left, right, top, bottom, start, end, room: height - top - bottom };
}
function drawGrid(f, scale) {
  const middle = f.top + f.room / 2, y = v => middle - scale.at(v) * f.room / 2;
  for (const v of ticks(scale, f.room)) {
    f.svg.append(shape("line", { class: v === 0 ? "zero" : "grid", x1: f.left, x2: f.width - f.right, y1: y(v), y2: y(v) }));
    f.svg.append(shape("text", { x: f.left - 8, y: y(v) + 4, "text-anchor": "end" }, tickText(v)));
  }
  return y;
}
// Splits points into runs, so that missing data is a gap in the curve.
function runs(points, value, step) {
  const all = []; let run = [];
  points.forEach((point, i) => {
    const v = value(point), hole = i > 0 && point[1] - points[i - 1][1] > step * 3500;
    if ((v === null || v === undefined || hole) && run.length) { all.push(run); run = []; }
    if (v !== null && v !== undefined) run.push([point[1], v]);
  });
  if (run.length) all.push(run);
  return all;
}
const oneDecimal = v => v.toFixed(1);
function drawCurve(f, y, points, value, step, attributes) {
  for (const run of runs(points, value, step)) {
    if (run.length === 1) run.push([run[0][0] + step * 1000, run[0][1]]);
    f.svg.append(shape("polyline", { ...attributes, points: run.map(([t, v]) => oneDecimal(Math.min(f.x(t), f.width - f.right)) + "," + oneDecimal(y(v))).join(" ") }));
  }
}
function drawBand(f, y, points, low, high, step, attributes) {
  const lows = runs(points, low, step), highs = runs(points, high, step);
  highs.forEach((run, i) => {
    const edge = ([t, v]) => oneDecimal(f.x(t)) + "," + oneDecimal(y(v));
    f.svg.append(shape("polygon", { ...attributes, points: run.map(edge).join(" ") + " " + lows[i].slice().reverse().map(edge).join(" ") }));
  });
}

// ---- cursor
// One cursor for all plots: { share } of the width below the pointer, so that the values move on with time; { at } a moment,
// chosen by keyboard; { latest } the newest point.
let cursor = null;
function cursorIndex(f, points) {
  if (cursor.latest) return points.length - 1;
  const t = cursor.at ?? f.start + cursor.share * (f.end - f.start);
  return points.reduce((best, point, i) => Math.abs(point[1] - t) < Math.abs(points[best][1] - t) ? i : best, 0);
}
// Draws the cursor, if any; `report` shows a point (null: none) and returns its text.
function addCursor(f, points, report, redraw) {
  const { plot, svg } = f, index = cursor ? cursorIndex(f, points) : points.length - 1;
  if (cursor) {
    const place = f.x(points[index][1]);
    svg.append(shape("line", { class: "hair", x1: place, x2: place, y1: f.top, y2: f.height - f.bottom }));
  }
  const text = report(cursor ? points[index] : null, points[index]);
  plot.setAttribute("aria-valuemin", "0"); plot.setAttribute("aria-valuemax", String(points.length - 1));
  plot.setAttribute("aria-valuenow", String(index)); plot.setAttribute("aria-valuetext", text);
  const move = next => { cursor = next; redraw(); };
  const follow = event => {
    const box = svg.getBoundingClientRect(), place = (event.clientX - box.left) / box.width * f.width;
    move({ share: Math.max(0, Math.min(1, (place - f.left) / (f.width - f.left - f.right))) });
  };
  plot.onpointermove = plot.onpointerdown = follow;
  plot.onpointerleave = plot.onblur = () => move(null);
  plot.onkeydown = event => {
    const page = Math.max(1, Math.round(points.length / 10));
    const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowDown: -1, ArrowUp: 1, PageDown: -page, PageUp: page, Home: -points.length, End: points.length };
    if (event.key === "Escape") move(null);
    else if (steps[event.key] === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
    else {
      const next = Math.max(0, Math.min(points.length - 1, index + steps[event.key]));
      move(next === points.length - 1 ? { latest: true } : { at: points[next][1] });
    }
    event.preventDefault();
  };
}
