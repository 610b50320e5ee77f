"use strict";
// The page: the state of the daemon in words and tables, its history in plots. Text from the daemon is inserted as text only.
// Word, tone and reason of a state, for daemons that give no findings.
const STATES = {
  "selected": ["used", "good"], "outranked": ["agrees, not used", "warn"], "falseticker": ["falseticker", "bad"],
  "no-majority": ["no majority", "warn"], "too-uncertain": ["too uncertain", "warn"], "no-samples": ["waiting", "warn"],
  "stale": ["stale", "warn"], "unreachable": ["unreachable", "bad"], "duplicate": ["duplicate", "warn"], "standby": ["standby", "off"], "unusable": ["unusable", "bad"], "offline": ["offline", "off"],
};
const MISSING = { "no-socket": "The daemon is not running", "nobody-listens": "The daemon is not running", "forbidden": "Permission denied", "timed-out": "The daemon does not reply", "unreadable": "Invalid reply from the daemon", "gone": "The exporter does not reply" };
// Age in milliseconds of the figures from which the page states it; number of changes that the exporter keeps.
const UPDATED_LIMIT = 10000, CHANGES = 200;

// ---- state of the page
const past = { recent: { points: [], step: 2, length: 900, series: {} }, day: { points: [], step: 60, length: 1440, series: {} } };
let shown = "recent", state = null, highlighted = null, updated = 0, changes = [], started;
function seriesOf(source) {
  const entry = Object.entries(past[shown].series).find(([, [name, address]]) => name === source.name && address === source.address);
  return entry ? entry[0] : null;
}
function colour(key) { return key === null ? "var(--faint)" : `var(--c${key % 8})`; }
// Sources beyond the number of colours differ by their dashes.
function dashes(key) { return ["", "6 3", "2 3", "9 3 2 3"][Math.floor(key / 8) % 4]; }
function seriesName(key) {
  const { series } = past[shown], [name, address] = series[key];
  const isOnly = Object.values(series).filter(other => other[0] === name).length === 1;
  return isOnly ? name : name + " " + address;
}

// ---- plots of the history
function bothSides(f, scale) { const middle = f.top + f.room / 2; return v => middle - Math.max(-1, Math.min(1, scale.at(v))) * f.room / 2; }
function drawOffset() {
  const { points, step } = past[shown], figures = points.map(p => p[2]).filter(Boolean);
  if (points.length < 2 || !figures.length) return clear("offset-plot");
  const f = frame("offset-plot", points, 62);
  const of = i => p => p[2] ? p[2][i] : null, sign = (i, s) => p => p[2] && p[2][i] !== null ? s * p[2][i] : null;
  const scale = axis(figures.flatMap(v => [v[1], v[2], v[3], v[4]]), figures.map(v => v[2]).concat(figures.map(v => v[1]))), y = bothSides(f, scale);
  drawBand(f, y, points, sign(3, -1), sign(3, 1), step, { class: "band" });
  drawBand(f, y, points, sign(2, -1), sign(2, 1), step, { class: "inner" });
  drawGrid(f, scale);
  drawCurve(f, y, points, of(1), step, { class: "line", id: "offset-line" });
  const truth = figures.some(v => v[4] !== null);
  $("truth-legend").hidden = !truth;
  if (truth) drawCurve(f, y, points, of(4), step, { class: "truth" });
  addCursor(f, points, (p, described) => {
    const words = p => p[2] ? [[time(p[2][1], true)], ", estimated error ± " + time(p[2][2]) + ", error bound ± " + time(p[2][3]) + (p[2][0] ? "" : ", not synchronised")] : ["no reply from the daemon"];
    return report("offset-readout", p, described, words);
  }, requestDraw);
}
function ppm(value, uncertainty) {
  if (value === null || value === undefined) return "–";
  const digits = uncertainty > 0 ? Math.max(1, Math.min(4, 1 - Math.floor(Math.log10(uncertainty)))) : 3;
  return (value < 0 ? "−" : "+") + Math.abs(value).toFixed(digits) + " ppm" + (uncertainty > 0 ? " ± " + uncertainty.toPrecision(2) : "");
}
function drawFrequency() {
  const { points, step } = past[shown], known = points.filter(p => p[2] && p[2][5] !== null);
  if (points.length < 2 || !known.length) return clear("frequency-plot");
  const f = frame("frequency-plot", points, 62);
  const edge = s => p => p[2] && p[2][5] !== null ? p[2][5] + s * (p[2][6] || 0) : null;
  const sorted = known.map(p => p[2][5]).sort((a, b) => a - b), middle = sorted[Math.floor(sorted.length / 2)];
  // The scale follows the newest half, so that the beginning, when nothing is known, does not determine it.
  const newest = known.slice(Math.floor(known.length / 2));
  const half = Math.max(0.01, ...newest.map(p => Math.max(Math.abs(edge(1)(p) - middle), Math.abs(edge(-1)(p) - middle)))) * 1.15;
  const value = p => p[2] && Math.abs(p[2][5] - middle) <= half ? p[2][5] : null;
  const unit = Math.pow(10, Math.floor(Math.log10(half))), tick = unit * (half / unit >= 5 ? 5 : half / unit >= 2 ? 2 : 1);
  const y = v => Math.max(f.top, Math.min(f.height - f.bottom, f.top + f.room / 2 - (v - middle) / half * f.room / 2));
  drawBand(f, y, points, edge(-1), edge(1), step, { class: "inner" });
  for (let v = Math.ceil((middle - half) / tick) * tick; v <= middle + half; v += tick) {
    f.svg.append(shape("line", { class: "grid", x1: f.left, x2: f.width - f.right, y1: y(v), y2: y(v) }));
    f.svg.append(shape("text", { x: f.left - 8, y: y(v) + 4, "text-anchor": "end" }, v.toFixed(Math.max(0, -Math.floor(Math.log10(tick)))).replace("-", "−")));
  }
  drawCurve(f, y, points, value, step, { class: "line", id: "frequency-line" });
  addCursor(f, points, (p, described) => report("frequency-readout", p, described, p => p[2] ? [[ppm(p[2][5], p[2][6])]] : ["no reply from the daemon"]), requestDraw);
}
function drawSources() {
  const { points, step, series } = past[shown];
  const drawn = Object.keys(series).map(Number).sort((a, b) => a - b).filter(key => points.some(p => p[3] && p[3][key]));
  $("sources-legend").replaceChildren(...drawn.map(key => {
    const line = shape("svg", { viewBox: "0 0 22 8", "aria-hidden": "true" });
    line.append(shape("line", { class: "thin", x1: 0, x2: 22, y1: 4, y2: 4, stroke: colour(key), "stroke-dasharray": dashes(key) }));
    return el("span", {}, line, seriesName(key));
  }), ...(drawn.length ? [el("span", {}, el("i", { class: "i-band" }), "correctness interval")] : []));
  $("sources-plot").classList.toggle("low", drawn.length === 0);
  if (points.length < 2 || !drawn.length) return clear("sources-plot");
  const f = frame("sources-plot", points, 62), at = (key, g) => p => p[3] && p[3][key] ? g(p[3][key]) : null;
  const all = points.flatMap(p => p[3] ? drawn.filter(key => p[3][key]).map(key => p[3][key]) : []);
  const scale = axis(all.flatMap(([o, h]) => [o, Math.abs(o) + Math.min(h, Math.abs(o) * 2 + 0.01)]), all.map(([o]) => o), 0.35), y = bothSides(f, scale);
  for (const key of drawn) {
    const opacity = highlighted === key ? 0.28 : highlighted !== null ? 0.03 : 0.9 / (drawn.length + 3);
    drawBand(f, y, points, at(key, ([o, h]) => o - h), at(key, ([o, h]) => o + h), step, { fill: colour(key), opacity });
  }
  drawGrid(f, scale);
  for (const key of drawn) drawCurve(f, y, points, at(key, ([o]) => o), step, { class: "thin", stroke: colour(key), "stroke-dasharray": dashes(key), opacity: highlighted !== null && highlighted !== key ? 0.25 : 1 });
  addCursor(f, points, (p, described) => report("sources-readout", p, described, p => {
    const measured = p[3] ? drawn.filter(key => p[3][key]) : [], more = measured.length - 4;
    return measured.length ? measured.slice(0, 4).flatMap(key => [[seriesName(key)], " " + time(p[3][key][0], true) + " ± " + time(p[3][key][1]) + "   "]).concat(more > 0 ? ["and " + more + " more"] : []) : ["no measurements"];
  }), draw);
}
function drawRates() {
  const { points, step } = past[shown], known = points.map(p => p[4]).filter(Boolean);
  $("serving").hidden = state ? state.servers.length === 0 : !known.length;
  $("servers-table").hidden = !state;
  if ($("serving").hidden) return;
  if (points.length < 2 || !known.length) return clear("rates-plot");
  const f = frame("rates-plot", points, 62);
  const highest = Math.max(1, ...known.map(r => r[0])), magnitude = Math.pow(10, Math.floor(Math.log10(highest)));
  const top = Math.ceil(highest / magnitude * 1.02) * magnitude, y = v => f.height - f.bottom - v / top * f.room;
  for (const v of [0, top / 2, top]) {
    f.svg.append(shape("line", { class: v === 0 ? "zero" : "grid", x1: f.left, x2: f.width - f.right, y1: y(v), y2: y(v) }));
    f.svg.append(shape("text", { x: f.left - 8, y: y(v) + 4, "text-anchor": "end" }, rate(v) + "/s"));
  }
  const of = i => p => p[4] ? p[4][i] : null;
  drawBand(f, y, points, p => p[4] ? 0 : null, of(1), step, { class: "inner" });
  drawCurve(f, y, points, of(1), step, { class: "thin", stroke: "var(--accent)" });
  drawCurve(f, y, points, of(2), step, { class: "thin", stroke: "var(--bad)", "stroke-dasharray": "6 3" });
  const words = p => p[4] ? [[rate(p[4][1]) + "/s"], " answered, ", [rate(p[4][2]) + "/s"], " denied or ignored"] : ["no requests known"];
  addCursor(f, points, (p, described) => report("rates-readout", p || described, described, words), requestDraw);
}
// Shows a point below the cursor, or nothing. Returns the text of `described`, for screen readers.
function report(id, p, described, words) {
  readout(id, ...(p ? [clockText(p[1], true) + "  ", ...words(p)] : []));
  return clockText(described[1], true) + ", " + words(described).map(part => typeof part === "string" ? part : part[0]).join("").trim();
}
function clear(id) { const plot = $(id); plot.firstElementChild.replaceChildren(); plot.setAttribute("aria-valuetext", "no data yet"); }
function draw() { drawOffset(); drawFrequency(); drawSources(); drawRates(); }
let drawing = 0;
function requestDraw() { drawing = drawing || requestAnimationFrame(() => { drawing = 0; draw(); }); }

// ---- values
function fact(name, value, more) { return el("div", {}, el("dt", {}, name), el("dd", {}, value, more ? el("small", {}, " " + more) : null)); }
function dotted(number) { return [24, 16, 8, 0].map(bits => number >>> bits & 255).join("."); }
function reference(system) {
  const octets = [24, 16, 8, 0].map(bits => system.reference_id >>> bits & 255);
  return system.stratum <= 1 || system.stratum >= 16 ? octets.filter(o => o > 32 && o < 127).map(o => String.fromCharCode(o)).join("") : dotted(system.reference_id);
}
function seconds1900(t) { return Number(BigInt(t) >> 32n); }

function setText(node, text) { if (node.textContent !== text) node.textContent = text; }
function showPill(tone, text) { $("status").className = "pill " + tone; setText($("status"), text); }

function update(answer) {
  const system = answer.state.system;
  state = answer.state;
  state.sources.sort((a, b) => a.name < b.name ? -1 : a.name > b.name ? 1 : a.id - b.id);
  const synchronized = system.synchronized !== undefined ? system.synchronized : system.stratum < 16;
  const agreeing = system.agreeing_sources, disagree = state.sources.some(s => s.state === "no-majority");
  const isSteered = system.clock_kind !== "none";
  showPill(synchronized && isSteered && !system.fallback_since ? "good" : system.step_refused ? "bad" : "warn", !isSteered ? "Clock not steered" : synchronized ? system.fallback_since ? "Fallback sources" : "Synchronised" : system.step_refused ? "Step refused" : system.local_since ? "Local time" : disagree ? "Sources disagree" : "Not synchronised");
  $("problem").hidden = true; $("known").hidden = false; $("known").classList.remove("stale");
  const [value, unit] = valueAndUnit(boundedEstimate(system.estimated_error, system.error_bound));
  $("estimated").replaceChildren(value === "–" ? "–" : "± " + value, el("small", {}, unit));
  $("bound").textContent = "± " + time(system.error_bound);
  $("offset").textContent = time(system.offset, true);
  $("offset-caption").textContent = system.offset >= 5e-10 ? "estimated offset: the clock is behind"
    : system.offset <= -5e-10 ? "estimated offset: the clock is ahead" : "estimated offset";
  // Why the clock is not as it should be, in the words of `ntp-ctl explain`.
  const findings = (synchronized && isSteered ? [] : system.why || []).concat((system.missing_sources || []).map(it => it.name + ": " + it.why));
  $("why").hidden = findings.length === 0;
  $("why").replaceChildren(...findings.map(finding => el("li", {}, finding)));
  $("facts").replaceChildren(
    fact("Frequency error", ppm(system.frequency_ppm), system.frequency_uncertainty_ppm === undefined ? "" : "± " + system.frequency_uncertainty_ppm.toFixed(3)),
    fact("Stratum", String(system.stratum), synchronized ? "via " + reference(system) : ""),
    fact("Sources agreeing", agreeing === undefined ? String(state.sources.length) : agreeing + " of " + system.candidate_sources),
    fact("Root delay", time(system.root_delay)),
    fact("Clock steps, total", time(system.accumulated_steps)),
    fact("Uptime", span(state.program.uptime_seconds)),
  );
  $("program").textContent = "ntp-daemon " + state.program.version + (system.clock_kind ? ", clock: " + system.clock_kind : "") +
    (system.leap_indicator === "Leap61" || system.leap_indicator === "Leap59" ? ", leap second announced" : "");
  updateSources(); updateServers();
}
// Of other states it is one of the findings.
function refusals(source) {
  const reasons = Object.entries(source.samples_refused_by_reason || {}).map(([reason, count]) => count + " " + reason);
  return source.samples_refused > 0 ? source.samples_refused + " readings refused" + (reasons.length > 0 ? " (" + reasons.join(", ") + ")" : "") : null;
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
    const known = source.uncertainty < UNKNOWN, key = seriesOf(source), state = source.online === false ? "offline" : source.state;
    const [label, tone] = STATES[state] || [state || "–", ""], [first, ...more] = source.why || [label];
    const [word, reason] = first.includes(": ") ? [first.slice(0, first.indexOf(": ")), first.slice(first.indexOf(": "))] : [first, ""];
    const dot = el("i", {}); dot.style.setProperty("--c", colour(key));
    const marks = [source.nts_cookies !== null ? "NTS" + expiry(source.nts_certificate_expiry) : source.authentication && source.authentication !== "none" ? source.authentication : null,
      source.receive_stamp ? source.receive_stamp + " timestamps" : null, source.driver ? "driver " + source.driver : null,
      state === "selected" ? refusals(source) : null].filter(Boolean).join(", ");
    const name = el("td", {}, el("span", { class: "name" }, dot, source.name),
      el("span", { class: "why" }, el("span", { class: "state " + tone }, state === "offline" || state === "falseticker" ? label + ", " + word : word), reason),
      ...(state === "selected" ? [] : more.map(finding => el("span", { class: "sub" }, finding))),
      source.address !== source.name || marks ? el("span", { class: "sub" }, [source.address !== source.name ? source.address : null, marks].filter(Boolean).join(" · ")) : null);
    const picture = shape("svg", { "aria-hidden": "true" });
    picture.style.setProperty("--c", colour(key));
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
    const row = el("tr", { "data-state": state || "", "data-name": source.name }, name,
      cell("Offset", known ? time(source.offset, true) : "–", el("span", { class: "sub" }, known ? "± " + time(source.uncertainty) : "")),
      el("td", { class: "span" }, picture),
      cell("Delay", known ? time(source.delay) : "–"),
      cell("Jitter", source.jitter === undefined ? "–" : time(source.jitter)),
      cell("Polled", "every " + span(Math.pow(2, source.poll_interval))),
      cell("Reach", answers),
      cell("Stratum", source.stratum === undefined ? "–" : String(source.stratum), el("span", { class: "sub" }, source.reference_id || "")));
    row.onpointerenter = () => { highlighted = key === null ? null : Number(key); drawSources(); };
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
  const servers = state.servers.slice().sort((a, b) => a.address < b.address ? -1 : 1);
  $("servers").replaceChildren(...servers.map(({ address, stats, latency }) => el("tr", {}, el("td", {}, el("span", { class: "name" }, address)),
    ...["received_packets", "accepted_packets", "rate_limited_packets", "denied_packets", "ignored_packets", "nts_received_packets"].map(member => el("td", {}, count(stats[member]))), el("td", {}, meanLatency(latency)))));
}
function updateChanges() {
  $("no-changes").hidden = changes.length > 0;
  $("changes").replaceChildren(...changes.slice().reverse().map(([, at, tone, object, finding]) => el("li", {},
    el("time", { datetime: new Date(at).toISOString() }, dayText(at) + ", " + clockText(at, true)), el("span", { class: "state " + tone }, object), el("span", { class: "finding" }, finding))));
}
function showError(problem, text) {
  showPill("bad", "No data");
  const box = $("problem");
  box.hidden = false;
  setText(box.firstElementChild, MISSING[problem] || "No data");
  setText(box.lastElementChild, text + (state ? " The figures below are the last known ones." : ""));
  $("known").classList.add("stale");
}
// Moments are those of the browser.
function showUpdated() {
  const late = updated > 0 && Date.now() - updated > UPDATED_LIMIT;
  setText($("updated"), (updated ? "Updated " + clockText(updated, true) : "Not updated yet") + (late ? ", " + span((Date.now() - updated) / 1000) + " ago" : "") + ". Times are " + zoneText() + ".");
}

// ---- update loop
async function fetchJson(path) {
  const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(8000) });
  if (!answer.ok) throw new Error(answer.status + " " + answer.statusText);
  return answer.json();
}
async function refreshPast(name) {
  const ring = past[name], last = ring.points.at(-1), change = changes.at(-1);
  const answer = await fetchJson("/api/history?span=" + name + (last ? "&after=" + last[0] : "") + (change ? "&change=" + change[0] : ""));
  if (started !== answer.started) {
    // The exporter was restarted and numbers points from zero again.
    const again = started !== undefined;
    started = answer.started; changes = [];
    for (const ring of Object.values(past)) ring.points = [];
    if (again) return refreshPast(name);
  }
  ring.step = answer.step; ring.length = answer.length; ring.series = answer.series;
  for (const point of answer.points) if (point[2]) point[2][2] = boundedEstimate(point[2][2], point[2][3]);
  ring.points = ring.points.concat(answer.points).slice(-answer.length);
  changes = changes.concat(answer.changes).slice(-CHANGES);
}
// One at a time: two at once would both append the same points.
let queue = Promise.resolve();
function refresh() { return queue = queue.then(refreshOnce); }
async function refreshOnce() {
  try {
    const answer = await fetchJson("/api/state");
    await refreshPast(shown);
    setText($("host"), answer.host); document.title = "Time on " + answer.host;
    if (answer.up) { updated = Date.now(); update(answer); } else showError(answer.problem, answer.text);
    updateChanges();
  } catch (error) {
    showError("gone", location.host + ": " + error.message);
  }
  $("past").hidden = past[shown].points.length === 0 && changes.length === 0;
  showUpdated(); draw();
  document.body.dataset.refreshed = String(Number(document.body.dataset.refreshed || 0) + 1);
}
for (const button of document.querySelectorAll(".toggle button")) button.onclick = async () => {
  shown = button.dataset.span;
  for (const other of document.querySelectorAll(".toggle button")) other.setAttribute("aria-pressed", String(other === button));
  await refresh();
};
window.addEventListener("resize", requestDraw);
(async function loop() { if (!document.hidden) await refresh(); setTimeout(loop, 2000); })();
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
