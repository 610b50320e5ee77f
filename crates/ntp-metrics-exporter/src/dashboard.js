"use strict";
const SVG = "http://www.w3.org/2000/svg", UNKNOWN = 1e9, $ = id => document.getElementById(id);
const REASONS = {
  "selected": ["used", "good", "agrees with the majority"],
  "outranked": ["agrees, not used", "warn", "a source with `prefer` takes precedence"],
  "falseticker": ["falseticker", "bad", "its interval lies outside the majority's"],
  "no-majority": ["no majority", "warn", "the sources disagree"],
  "too-uncertain": ["too uncertain", "warn", "its interval exceeds the limit"],
  "no-samples": ["waiting", "warn", "no usable reply yet"],
  "stale": ["stale", "warn", "no reply for eight poll intervals"],
  "unreachable": ["unreachable", "bad", "no reply to the last eight requests"],
  "unusable": ["unusable", "bad", "its replies have no usable time"],
};
const MISSING = { "no-socket": "The daemon is not running", "nobody-listens": "The daemon is not running", "forbidden": "Permission denied", "timed-out": "The daemon does not reply", "unreadable": "Invalid reply from the daemon", "gone": "The exporter does not reply" };

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
  const svg = $(id), box = svg.getBoundingClientRect(), width = Math.max(box.width, 240), height = Math.max(box.height, 100);
  const left = room, right = 6, top = 8, bottom = 24;
  const end = points[points.length - 1][1], start = Math.min(points[0][1], end - 20000);
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
  return { svg, x, width, height, left, right, top, bottom, start, end, plot: height - top - bottom };
}
function drawGrid(f, scale) {
  const middle = f.top + f.plot / 2, y = v => middle - scale.at(v) * f.plot / 2;
  for (const v of ticks(scale, f.plot)) {
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
function addCrosshair(f, points, report) {
  const hair = shape("line", { class: "hair", y1: f.top, y2: f.height - f.bottom, visibility: "hidden" });
  f.svg.append(hair);
  const move = event => {
    const box = f.svg.getBoundingClientRect(), t = f.start + ((event.clientX - box.left) / box.width * f.width - f.left) / (f.width - f.left - f.right) * (f.end - f.start);
    const nearest = points.reduce((a, b) => Math.abs(b[1] - t) < Math.abs(a[1] - t) ? b : a);
    const place = f.x(nearest[1]);
    hair.setAttribute("x1", place); hair.setAttribute("x2", place); hair.setAttribute("visibility", "visible");
    hovering = true; report(nearest);
  };
  f.svg.onpointermove = move; f.svg.onpointerdown = move;
  f.svg.onpointerleave = () => { hovering = false; hair.setAttribute("visibility", "hidden"); report(null); };
}
let hovering = false;

// ---- state of the page
const past = { recent: { points: [], step: 2, length: 900 }, day: { points: [], step: 60, length: 1440 } };
let shown = "recent", state = null, colours = new Map(), highlighted = null;
function colour(id) { if (!colours.has(id)) colours.set(id, `var(--c${colours.size % 8})`); return colours.get(id); }

function drawOffset() {
  const { points, step } = past[shown];
  const figures = points.map(p => p[2]).filter(Boolean);
  if (points.length < 2 || !figures.length) return;
  const f = frame("offset-plot", points, 62);
  const of = i => p => p[2] ? p[2][i] : null;
  const scale = axis(figures.flatMap(v => [v[1], v[2], v[3], v[4]]), figures.map(v => v[2]).concat(figures.map(v => v[1])));
  const sign = (i, s) => p => p[2] && p[2][i] !== null ? s * p[2][i] : null;
  const middle = f.top + f.plot / 2, y = v => middle - scale.at(v) * f.plot / 2;
  drawBand(f, y, points, sign(3, -1), sign(3, 1), step, { class: "band" });
  drawBand(f, y, points, sign(2, -1), sign(2, 1), step, { class: "inner" });
  drawGrid(f, scale);
  drawCurve(f, y, points, of(1), step, { class: "line", id: "offset-line" });
  const truth = figures.some(v => v[4] !== null);
  $("truth-legend").hidden = !truth;
  if (truth) drawCurve(f, y, points, of(4), step, { class: "truth" });
  addCrosshair(f, points, p => p ? p[2]
      ? readout("offset-readout", clockText(p[1], true) + "  ", [time(p[2][1], true)], ", estimated error ± " + time(p[2][2]) + ", error bound ± " + time(p[2][3]) + (p[2][0] ? "" : ", not synchronised"))
      : readout("offset-readout", clockText(p[1], true) + "  no reply from the daemon") : readout("offset-readout"));
}
function drawSources() {
  const { points, step } = past[shown];
  const ids = state ? state.sources.map(s => String(s.id)) : [];
  const drawn = ids.filter(id => points.some(p => p[3] && p[3][id]));
  const svg = $("sources-plot");
  svg.classList.toggle("low", drawn.length === 0);
  if (points.length < 2 || !drawn.length) { svg.replaceChildren(); return; }
  const f = frame("sources-plot", points, 62);
  const all = points.flatMap(p => p[3] ? drawn.filter(id => p[3][id]).map(id => p[3][id]) : []);
  const scale = axis(all.flatMap(([o, h]) => [o, Math.abs(o) + Math.min(h, Math.abs(o) * 2 + 0.01)]), all.map(([o]) => o), 0.35);
  const middle = f.top + f.plot / 2, clip = v => Math.max(-1, Math.min(1, v)), y = v => middle - clip(scale.at(v)) * f.plot / 2;
  const at = (id, g) => p => p[3] && p[3][id] ? g(p[3][id]) : null;
  for (const id of drawn) {
    const strong = highlighted === id;
    drawBand(f, y, points, at(id, ([o, h]) => o - h), at(id, ([o, h]) => o + h), step, { fill: colour(id), opacity: strong ? 0.28 : highlighted ? 0.03 : 0.9 / (drawn.length + 3) });
  }
  drawGrid(f, scale);
  for (const id of drawn) drawCurve(f, y, points, at(id, ([o]) => o), step, { class: "thin", stroke: colour(id), opacity: highlighted && highlighted !== id ? 0.25 : 1 });
  addCrosshair(f, points, p => {
    if (!p || !p[3]) return readout("sources-readout");
    const parts = state.sources.filter(s => p[3][s.id]).slice(0, 4).flatMap(s => [[s.name], " " + time(p[3][s.id][0], true) + " ± " + time(p[3][s.id][1]) + "   "]);
    readout("sources-readout", clockText(p[1], true) + "  ", ...parts);
  });
}
function drawRates() {
  const { points, step } = past[shown];
  const known = points.map(p => p[4]).filter(Boolean);
  if ($("serving").hidden || points.length < 2 || !known.length) return;
  const f = frame("rates-plot", points, 62);
  const highest = Math.max(1, ...known.map(r => r[0])), magnitude = Math.pow(10, Math.floor(Math.log10(highest)));
  const top = Math.ceil(highest / magnitude * 1.02) * magnitude, y = v => f.height - f.bottom - v / top * f.plot;
  for (const v of [0, top / 2, top]) {
    f.svg.append(shape("line", { class: v === 0 ? "zero" : "grid", x1: f.left, x2: f.width - f.right, y1: y(v), y2: y(v) }));
    f.svg.append(shape("text", { x: f.left - 8, y: y(v) + 4, "text-anchor": "end" }, rate(v) + "/s"));
  }
  const of = i => p => p[4] ? p[4][i] : null;
  drawBand(f, y, points, p => p[4] ? 0 : null, of(1), step, { class: "inner" });
  drawCurve(f, y, points, of(1), step, { class: "thin", stroke: "var(--accent)" });
  drawCurve(f, y, points, of(2), step, { class: "thin", stroke: "var(--bad)" });
  const last = known[known.length - 1];
  const report = r => readout("rates-readout", [rate(r[1]) + "/s"], " answered", ...(r[2] > 0 ? [", ", [rate(r[2]) + "/s"], " denied or ignored"] : []));
  report(last);
  addCrosshair(f, points, p => report(p && p[4] ? p[4] : last));
}
function draw() { drawOffset(); drawSources(); drawRates(); }

// ---- values
function fact(name, value, more) { return el("div", {}, el("dt", {}, name), el("dd", {}, value, more ? el("small", {}, " " + more) : null)); }
function dotted(number) { return [24, 16, 8, 0].map(bits => number >>> bits & 255).join("."); }
function reference(system) {
  const octets = [24, 16, 8, 0].map(bits => system.reference_id >>> bits & 255);
  return system.stratum <= 1 || system.stratum >= 16 ? octets.filter(o => o > 32 && o < 127).map(o => String.fromCharCode(o)).join("") : dotted(system.reference_id);
}
function seconds1900(t) { return Number(BigInt(t) >> 32n); }

function update(answer) {
  const system = answer.state.system, pill = $("status");
  state = answer.state;
  $("host").textContent = answer.host; document.title = "Time on " + answer.host;
  state.sources.sort((a, b) => a.name < b.name ? -1 : a.name > b.name ? 1 : a.id - b.id);
  const synchronized = system.synchronized !== undefined ? system.synchronized : system.stratum < 16;
  const agreeing = system.agreeing_sources, disagree = state.sources.some(s => s.state === "no-majority");
  pill.className = "pill " + (synchronized ? "good" : "warn");
  pill.textContent = synchronized ? "Synchronised" : disagree ? "Sources disagree" : "Not synchronised";
  $("problem").hidden = true; $("known").hidden = false;
  const [value, unit] = valueAndUnit(boundedEstimate(system.estimated_error, system.error_bound));
  $("estimated").replaceChildren(value === "–" ? "–" : "± " + value, el("small", {}, unit));
  $("bound").textContent = "± " + time(system.error_bound);
  $("offset").textContent = time(system.offset, true);
  $("offset-caption").textContent = system.offset >= 5e-10 ? "estimated offset: the clock is behind"
    : system.offset <= -5e-10 ? "estimated offset: the clock is ahead" : "estimated offset";
  const ppm = system.frequency_ppm, candidates = system.candidate_sources;
  $("facts").replaceChildren(
    fact("Frequency error", ppm === undefined ? "–" : (ppm < 0 ? "−" : "+") + Math.abs(ppm).toFixed(3) + " ppm", system.frequency_uncertainty_ppm === undefined ? "" : "± " + system.frequency_uncertainty_ppm.toFixed(3)),
    fact("Stratum", String(system.stratum), synchronized ? "via " + reference(system) : ""),
    fact("Sources agreeing", agreeing === undefined ? String(state.sources.length) : agreeing + " of " + candidates),
    fact("Root delay", time(system.root_delay)),
    fact("Clock steps, total", time(system.accumulated_steps)),
    fact("Uptime", span(state.program.uptime_seconds)),
  );
  $("program").textContent = "ntp-daemon " + state.program.version + (system.clock_kind ? ", clock: " + system.clock_kind : "") +
    (system.leap_indicator === "Leap61" || system.leap_indicator === "Leap59" ? ", leap second announced" : "");
  updateSources(); updateServers();
}
function updateSources() {
  const rows = $("sources"), { sources } = state;
  const measured = sources.filter(s => s.uncertainty < UNKNOWN);
  // Agreeing sources determine the scale; an offset beyond it is shown at the edge.
  const claim = state.system.error_bound || 0;
  const widths = measured.filter(s => s.state !== "falseticker").map(s => Math.abs(s.offset) + s.uncertainty);
  const reach = Math.max(claim, Math.min(Math.max(0, ...widths), claim > 0 ? claim * 6 : Infinity), 1e-9) * 1.08;
  $("no-sources").hidden = sources.length > 0;
  rows.parentElement.hidden = sources.length === 0;
  rows.replaceChildren(...sources.map(source => {
    const known = source.uncertainty < UNKNOWN, [word, tone, why] = REASONS[source.state] || [source.state || "–", "", ""];
    const dot = el("i", {}); dot.style.setProperty("--c", colour(String(source.id)));
    const marks = [source.nts_cookies !== null ? "NTS" + expiry(source.nts_certificate_expiry) : source.authentication && source.authentication !== "none" ? source.authentication : null,
      source.receive_stamp ? source.receive_stamp + " timestamps" : null].filter(Boolean).join(", ");
    const name = el("td", {}, el("span", { class: "name" }, dot, source.name),
      el("span", { class: "why" }, el("span", { class: "state " + tone }, word), why ? ": " + why : ""),
      source.address !== source.name || marks ? el("span", { class: "sub" }, [source.address !== source.name ? source.address : null, marks].filter(Boolean).join(" · ")) : null);
    const picture = shape("svg", { "aria-hidden": "true" });
    picture.style.setProperty("--c", colour(String(source.id)));
    const x = v => Math.max(1.5, Math.min(98.5, 50 + v / reach * 50)), per = v => x(v).toFixed(2) + "%";
    if (known) {
      if (claim) picture.append(shape("rect", { class: "claim", x: per(-claim), y: 0, width: (x(claim) - x(-claim)).toFixed(2) + "%", height: 16 }));
      picture.append(shape("line", { class: "axis", x1: "50%", x2: "50%", y1: 0, y2: 16 }),
        shape("line", { class: "whisker", x1: per(source.offset - source.uncertainty), x2: per(source.offset + source.uncertainty), y1: 8, y2: 8 }));
      if (Math.abs(source.offset) <= reach) picture.append(shape("circle", { class: "dot", cx: per(source.offset), cy: 8, r: 4 }));
      else picture.append(shape("text", { class: "off", x: source.offset < 0 ? "0" : "100%", y: 12, "text-anchor": source.offset < 0 ? "start" : "end" }, source.offset < 0 ? "◂" : "▸"));
    }
    const answers = el("span", { class: "reach", title: "the last eight requests, newest at the right", role: "img", "aria-label": "reach " + (source.reach || 0).toString(8) });
    for (let bit = 7; bit >= 0; bit--) answers.append(el("b", source.reach >> bit & 1 ? { class: "on" } : {}));
    const cell = (label, ...content) => el("td", { "data-label": label }, ...content);
    const row = el("tr", { "data-state": source.state || "", "data-name": source.name }, name,
      cell("Offset", known ? time(source.offset, true) : "–", el("span", { class: "sub" }, known ? "± " + time(source.uncertainty) : "")),
      el("td", { class: "span" }, picture),
      cell("Delay", known ? time(source.delay) : "–"),
      cell("Jitter", source.jitter === undefined ? "–" : time(source.jitter)),
      cell("Polled", "every " + span(Math.pow(2, source.poll_interval))),
      cell("Reach", answers),
      cell("Stratum", source.stratum === undefined ? "–" : String(source.stratum), el("span", { class: "sub" }, source.reference_id || "")));
    row.onpointerenter = () => { highlighted = String(source.id); drawSources(); };
    row.onpointerleave = () => { highlighted = null; drawSources(); };
    return row;
  }));
}
// Warns of certificates whose renewal is overdue.
function expiry(at) {
  const days = at === undefined ? Infinity : (at * 1000 - Date.now()) / 864e5;
  return days < 0 ? " (certificate expired)" : days < 14 ? " (certificate expires in " + days.toFixed(1) + " days)" : "";
}
function updateKeys() {
  const { nts_ke_connections: connections, nts_ke_granted: granted, nts_ke_refused: refused, nts_ke_evicted: evicted, nts_certificate_expiry: end } = state.system;
  $("keys").hidden = connections === undefined;
  if (connections !== undefined) $("keys").textContent = "NTS key exchange: " + count(granted) + " granted of " + count(connections) + " connections, " +
    count(refused) + " refused, " + count(evicted) + " evicted" + (end === undefined ? "" : "; certificate valid until " + new Date(end * 1000).toISOString().slice(0, 10)) + expiry(end);
}
function meanLatency(latency) {
  const answers = latency ? latency.counts.reduce((sum, one) => sum + one, 0) : 0;
  return answers ? time(latency.sum_nanos * 1e-9 / answers) : "–";
}
function updateServers() {
  updateKeys();
  $("serving").hidden = state.servers.length === 0;
  const servers = state.servers.slice().sort((a, b) => a.address < b.address ? -1 : 1);
  $("servers").replaceChildren(...servers.map(({ address, stats, latency }) => el("tr", {}, el("td", {}, el("span", { class: "name" }, address)),
    ...["received_packets", "accepted_packets", "rate_limited_packets", "denied_packets", "ignored_packets", "nts_received_packets"].map(member => el("td", {}, count(stats[member]))), el("td", {}, meanLatency(latency)))));
}
function showError(problem, text) {
  const pill = $("status");
  pill.className = "pill bad"; pill.textContent = "No data";
  const box = $("problem");
  box.hidden = false;
  box.firstElementChild.textContent = MISSING[problem] || "No data";
  box.lastElementChild.textContent = text;
}

// ---- update loop
async function fetchJson(path) {
  const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(8000) });
  if (!answer.ok) throw new Error(answer.status + " " + answer.statusText);
  return answer.json();
}
async function refreshPast(name) {
  const ring = past[name], last = ring.points[ring.points.length - 1];
  const answer = await fetchJson("/api/history?span=" + name + (last ? "&after=" + last[0] : ""));
  if (ring.started !== answer.started) {
    // The exporter was restarted and numbers points from zero again.
    const again = ring.started !== undefined;
    ring.started = answer.started; ring.points = [];
    if (again) return refreshPast(name);
  }
  ring.step = answer.step; ring.length = answer.length;
  for (const point of answer.points) if (point[2]) point[2][2] = boundedEstimate(point[2][2], point[2][3]);
  ring.points = ring.points.concat(answer.points).slice(-answer.length);
}
async function refresh() {
  try {
    const answer = await fetchJson("/api/state");
    await refreshPast(shown);
    if (answer.up) update(answer); else showError(answer.problem, answer.text);
  } catch (error) {
    showError("gone", location.host + ": " + error.message);
  }
  if (!hovering) draw();
  document.body.dataset.refreshed = String(Number(document.body.dataset.refreshed || 0) + 1);
}
for (const button of document.querySelectorAll(".toggle button")) button.onclick = async () => {
  shown = button.dataset.span;
  for (const other of document.querySelectorAll(".toggle button")) other.setAttribute("aria-pressed", String(other === button));
  await refresh();
};
window.addEventListener("resize", draw);
(async function loop() { if (!document.hidden) await refresh(); setTimeout(loop, 2000); })();
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
