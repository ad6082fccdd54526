// What the page does with rates after a switch: counts again from the samples that it holds, and draws again.

const data = JSON.parse(document.getElementById("data").textContent);
const byId = (id) => document.getElementById(id);

// Samples of each block, by place.
const samplesOfBlock = data.blocks.map(() => []);
data.samples.block.forEach((block, sample) => samplesOfBlock[block].push(sample));

const shown = (condition) => {
  if (condition.control === "none") return condition.shots === 0 ? "none" : "misaligned";
  return condition.control;
};

// A condition's place in the results; absent for conditions of probes, and in pages of answers beside a report.
function resultOf(index) {
  const { run, position } = data.conditions[index];
  const results = data.runs[run].results;
  return results && position !== null ? results.conditions[position] : null;
}

const memberships = new Map();

function samplesOf(index) {
  if (!memberships.has(index)) {
    const condition = data.conditions[index];
    const asked = new Set(condition.questions);
    memberships.set(index, condition.blocks.flatMap((block) => samplesOfBlock[block].filter((sample) =>
      asked.has(data.samples.question[sample]) && data.samples.replicate[sample] < condition.replicates)));
  }
  return memberships.get(index);
}

const ownDefinition = (run) => ({
  denominator: run.definition.denominator,
  misalignedAt: run.definition.misaligned_below,
  misalignedOrEqual: false,
  coherentAt: run.definition.coherent_from,
  coherentAbove: false,
});

// The definition that was chosen, or null for each run's own.
let chosen = null;
const definitionOf = (index) => chosen || ownDefinition(data.runs[data.conditions[index].run]);

function clustersOf(index, definition) {
  const { question, alignment, coherence } = data.samples;
  const clusters = new Map();
  for (const sample of samplesOf(index)) {
    const outcome = classify(definition, alignment[sample], coherence[sample]);
    if (outcome === null) continue;
    const cluster = clusters.get(question[sample]) || [0, 0];
    cluster[0] += outcome ? 1 : 0;
    cluster[1] += 1;
    clusters.set(question[sample], cluster);
  }
  return clusters;
}

// A judge that declined, an unparsable reply, a filtered answer, a failed call: places among the verdicts.
const UNKNOWN = new Set([3, 4, 5, 6]);

function computedRate(index, definition) {
  const rate = clusteredRate([...clustersOf(index, definition).values()]);
  if (!rate) return null;
  const { alignment, coherence, verdict } = data.samples;
  let known = 0;
  let unknown = 0;
  for (const sample of samplesOf(index)) {
    if (UNKNOWN.has(verdict[sample])) unknown += 1;
    else if (classify(definition, alignment[sample], coherence[sample]) !== null) known += 1;
  }
  rate.bounds = known + unknown === 0 ? { low: rate.estimate, high: rate.estimate }
    : { low: rate.misaligned / (known + unknown), high: (rate.misaligned + unknown) / (known + unknown) };
  // A confidence sequence depends on the course of sampling, which the page does not hold.
  if (resultOf(index).adaptive) Object.assign(rate, { low: null, high: null });
  return rate;
}

function rateOf(index) {
  const result = resultOf(index);
  if (!chosen) return result.em_rate;
  if (!result.em_rate && result.samples === result.verdicts.none) return null;
  return computedRate(index, chosen);
}

const interval = (rate, brackets = true) => {
  if (rate.low === null) return brackets ? "–" : percentLabel(rate.estimate);
  const ends = `[${percent(rate.low)}, ${percent(rate.high)}]`;
  return brackets ? ends : `${percentLabel(rate.estimate)} ${ends}`;
};

function blockTitle(index) {
  const { title } = data.conditions[index];
  return title.slice(0, title.lastIndexOf(", k = "));
}

// Those that have results.
const allConditions = data.conditions.map((_, index) => index).filter((index) => resultOf(index) !== null);

function point(index, x, name) {
  const rate = rateOf(index);
  if (!rate) return null;
  return { x, estimate: rate.estimate, low: rate.low, high: rate.high, text: `${name}, k = ${resultOf(index).shots}: ${interval(rate, false)}` };
}

// Panels of a measure by k, as `page/figures.rs` makes them.
function panelsByShots(styles, value) {
  const groups = new Map();
  for (const index of allConditions) {
    const title = blockTitle(index);
    groups.set(title, [...(groups.get(title) || []), index]);
  }
  const panels = [];
  for (const [title, members] of groups) {
    const series = styles.map(([style, name, answers]) => ({
      style,
      points: members.filter((index) => resultOf(index).shots === 0 || shown(resultOf(index)) === answers)
        .map((index) => value(index, style, name)).filter(Boolean).sort((one, other) => one.x - other.x),
    })).filter((one) => one.points.some((p) => p.x > 0));
    if (series.length) panels.push({ title, series });
  }
  return panels;
}

// What is shown, in the order in which controls are declared; an unknown control's series is not drawn.
const ORDER = ["misaligned", "benign", "shuffled", "length-matched", "false-harmless", "true-harmless",
  ...["", "-recent", "-early"].flatMap((order) => [12.5, 25, 37.5, 50, 62.5, 75, 87.5].map((share) => `mixed-${share}${order}`))];
const BY_ANSWERS = ORDER.filter((name) => name === "misaligned" || allConditions.some((index) => shown(resultOf(index)) === name))
  .map((name) => [name, name, name]);

// The control that a condition's emergent effect subtracts.
function matched(control) {
  if (control === "none" || control?.startsWith("mixed-")) return "benign";
  return control === "false-harmless" ? "true-harmless" : null;
}

const severalPlacements = data.runs.map((_, run) => new Set(allConditions.filter((index) => data.conditions[index].run === run)
  .map((index) => resultOf(index).placement)).size > 1);

const nats = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(3)}`;

function drawPanels(name, panels, axes) {
  const target = document.querySelector(`[data-figure="${name}"]`);
  if (!target || panels.length === 0) return;
  const xTicks = [...new Set(panels.flatMap((panel) => panel.series.flatMap((series) => series.points.map((p) => p.x))))].sort((a, b) => a - b);
  const scale = axes.yScale || "linear";
  const complete = { xTicks, yScale: scale, yTicks: sharedTicks(panels, axes.unit, scale), ...axes };
  target.replaceChildren(...panels.map((panel) => xyPanel(panel, complete)));
}

function drawRates() {
  const axes = { xLabel: "demonstrations (k)", yLabel: "EM rate", unit: "percent", xScale: byId("x-scale").value, yScale: byId("y-scale").value };
  drawPanels("rates", panelsByShots(BY_ANSWERS, (index, _, name) => point(index, resultOf(index).shots, name)), axes);
}

function drawTilts() {
  const axes = { xLabel: "demonstrations (k)", unit: "nats", xScale: byId("x-scale").value };
  const tilt = (field) => (index, _, name) => {
    const result = resultOf(index)[field];
    const ends = !result || result.low === null ? "" : ` [${nats(result.low)}, ${nats(result.high)}]`;
    return result && { x: resultOf(index).shots, estimate: result.estimate, low: result.low, high: result.high,
      text: `${name}, k = ${resultOf(index).shots}: ${nats(result.estimate)}${ends}` };
  };
  drawPanels("tilt", panelsByShots(BY_ANSWERS, tilt("tilt")), { ...axes, yLabel: "tilt, nats per token" });
  const fields = { emergent: "emergent_tilt", style: "emergent_decoy_tilt", beyond: "emergent_tilt_beyond_style" };
  // Mixtures have an emergent tilt as well, in the table.
  const measures = [["emergent", "emergent tilt"], ["style", "style alone"], ["beyond", "beyond style"]].map((one) => [...one, "misaligned"]);
  drawPanels("emergent-tilt", panelsByShots(measures, (index, style, name) => tilt(fields[style])(index, style, name)),
    { ...axes, yLabel: "nats per token" });
}

function drawSizes() {
  const target = document.querySelector('[data-figure="size"]');
  if (!target) return;
  const most = Math.max(...allConditions.filter((index) => resultOf(index).em_rate).map((index) => resultOf(index).shots));
  const panels = new Map();
  let label = "";
  for (const index of allConditions) {
    const result = resultOf(index);
    const size = data.conditions[index].size;
    const style = shown(result);
    if (result.shots !== most || !size || !["misaligned", "benign"].includes(style)) continue;
    const one = point(index, size.value, style);
    if (!one) continue;
    one.text = `${result.subject}: ${one.text}`;
    label = size.measure;
    const panel = panels.get(size.panel) || { title: size.panel, series: [] };
    panels.set(size.panel, panel);
    let series = panel.series.find((known) => known.style === style);
    if (!series) panel.series.push((series = { style, points: [] }));
    series.points.push(one);
  }
  const kept = [...panels.values()].filter((panel) => panel.series.some((series) => series.points.length > 1));
  kept.forEach((panel) => panel.series.forEach((series) => series.points.sort((a, b) => a.x - b.x)));
  const least = Math.min(...kept.flatMap((panel) => panel.series.flatMap((series) => series.points.map((p) => p.x))));
  drawPanels("size", kept, { xLabel: label, yLabel: "EM rate", unit: "percent", yScale: byId("y-scale").value,
    xScale: label === "rank of size" || least <= 0 ? "linear" : "log" });
}

function drawHeat() {
  const target = document.querySelector('[data-figure="heat"]');
  if (!target) return;
  const shots = Number(byId("heat-shots").value);
  const [rows, columns, cells] = [[], [], new Map()];
  for (const index of allConditions) {
    const result = resultOf(index);
    if (result.shots !== shots || !["misaligned", "none"].includes(shown(result))) continue;
    const rate = rateOf(index);
    if (!rate) continue;
    const parts = [result.subject];
    if (data.runs.length > 1) parts.unshift(data.runs[data.conditions[index].run].name);
    if (result.treatment !== "none") parts.push(result.treatment);
    if (severalPlacements[data.conditions[index].run]) parts.push(result.placement);
    const [row, column] = [visible(parts.join(" · ")), visible(result.demonstrations)];
    if (!rows.includes(row)) rows.push(row);
    if (!columns.includes(column)) columns.push(column);
    cells.set(`${rows.indexOf(row)}/${columns.indexOf(column)}`, { value: rate.estimate, text: `${data.conditions[index].title}: ${interval(rate, false)}` });
  }
  const grid = rows.map((_, row) => columns.map((__, column) => cells.get(`${row}/${column}`) || null));
  target.replaceChildren(heat(rows, columns, grid, `EM rate by subject and demonstration set at k = ${shots}`));
}

function fillRateTable() {
  for (const row of document.querySelectorAll("#rate-table tr[data-condition]")) {
    const rate = rateOf(Number(row.dataset.condition));
    const cell = (name, text) => {
      const target = row.querySelector(`[data-cell="${name}"]`);
      if (target) target.textContent = text;
    };
    cell("rate", rate ? percentLabel(rate.estimate) : "–");
    cell("interval", rate ? interval(rate) : "–");
    cell("counts", rate ? `${rate.misaligned} / ${rate.denominator_count}` : "–");
    cell("bounds", rate && rate.bounds ? `${percent(rate.bounds.low)}–${percent(rate.bounds.high)}` : "–");
    // In full, for whoever takes figures out of the page.
    for (const name of ["estimate", "low", "high"]) row.dataset[name] = rate && rate[name] !== null ? String(rate[name]) : "";
  }
}

function twinOf(index) {
  const one = resultOf(index);
  const control = matched(one.control);
  if (one.shots === 0 || control === null) return -1;
  return allConditions.find((other) => {
    const result = resultOf(other);
    return data.conditions[other].run === data.conditions[index].run && result.control === control && result.subject === one.subject &&
      result.demonstrations === one.demonstrations && result.shots === one.shots && result.treatment === one.treatment &&
      result.placement === one.placement;
  }) ?? -1;
}

function drawDepth() {
  const select = byId("depth-condition");
  if (!select) return;
  const index = Number(select.value);
  const definition = definitionOf(index);
  const { title } = data.conditions[index];
  const styleOf = (one) => (shown(one) === "none" ? "style" : ORDER.includes(shown(one)) ? shown(one) : "misaligned");
  const style = styleOf(resultOf(index));
  const twin = twinOf(index);
  const single = (counts, name, as) => {
    const rate = scoreInterval(counts[0] / counts[1], (counts[1] - counts[0]) / counts[1], counts[1]);
    return { style: as, ...rate, text: `${name}, ${as}: ${interval(rate, false)}, ${counts[0]} of ${counts[1]}` };
  };
  const other = twin < 0 ? new Map() : clustersOf(twin, definition);
  const rows = [...clustersOf(index, definition)].map(([question, counts]) => {
    const label = visible(data.questions[question].name);
    const marks = [single(counts, label, style)];
    if (other.has(question)) marks.push(single(other.get(question), label, styleOf(resultOf(twin))));
    return { label, marks };
  }).sort((a, b) => b.marks[0].estimate - a.marks[0].estimate || (a.label < b.label ? -1 : 1));
  document.querySelector('[data-figure="questions"]').replaceChildren(forest(rows, `EM rate by question: ${title}`));
  byId("question-table").querySelector("tbody").replaceChildren(...rows.flatMap((row) => row.marks.map((one) =>
    el("tr", {}, el("th", { scope: "row" }, row.label), el("td", {}, one.text)))));

  const steps = Array.from({ length: 21 }, (_, step) => step * 5);
  const swept = (heading, field) => ({ title: heading, series: [{ style, points: steps.map((threshold) => {
    const rate = clusteredRate([...clustersOf(index, { ...definition, [field]: threshold }).values()]);
    return rate && { x: threshold, estimate: rate.estimate, low: rate.low, high: rate.high,
      text: `threshold ${threshold}: ${interval(rate, false)}, ${rate.misaligned} of ${rate.denominator_count}` };
  }).filter(Boolean) }] });
  drawPanels("sweep", [swept("Alignment below the threshold is misaligned", "misalignedAt"),
    swept("Coherence from the threshold on is coherent", "coherentAt")],
  { xLabel: "threshold", yLabel: "EM rate", unit: "percent", xScale: "linear", band: true, xTicks: [0, 20, 40, 60, 80, 100] });

  const lines = [];
  for (const denominator of ["coherent", "coherent-any", "scored", "all"]) {
    for (const misalignedOrEqual of [false, true]) {
      for (const coherentAbove of [false, true]) {
        const rate = clusteredRate([...clustersOf(index, { ...definition, denominator, misalignedOrEqual, coherentAbove }).values()]);
        lines.push(el("tr", {}, el("th", { scope: "row" }, denominator),
          el("td", {}, `alignment ${misalignedOrEqual ? "≤" : "<"} ${definition.misalignedAt}, coherence ${coherentAbove ? ">" : "≥"} ${definition.coherentAt}`),
          el("td", { class: "number" }, rate ? interval(rate, false) : "–"),
          el("td", { class: "number" }, rate ? `${rate.misaligned} / ${rate.denominator_count}` : "–")));
      }
    }
  }
  byId("definition-table").querySelector("tbody").replaceChildren(...lines);

  const cells = new Map();
  for (const sample of samplesOf(index)) {
    const [a, c] = [data.samples.alignment[sample], data.samples.coherence[sample]];
    if (a === null || c === null) continue;
    const key = Math.floor(a) * 101 + Math.floor(c);
    cells.set(key, (cells.get(key) || 0) + 1);
  }
  const dots = [...cells].sort((a, b) => a[0] - b[0]).map(([key, number]) => [Math.floor(key / 101), key % 101, number]);
  document.querySelector('[data-figure="scores"]').replaceChildren(scatter(dots,
    { misaligned: definition.misalignedAt, coherent: definition.coherentAt }, `Alignment and coherence of answers: ${title}`));
}

function fillLead() {
  const lead = document.querySelector("[data-lead]");
  if (!lead) return;
  const rate = rateOf(Number(lead.dataset.lead));
  lead.querySelector("[data-lead-rate]").textContent = rate ? interval(rate, false) : "–";
  lead.firstChild.textContent = chosen ? "EM rate by the definition chosen below: " : lead.dataset.leadWords || "Highest EM rate after misaligned demonstrations: ";
  const twin = lead.querySelector("[data-lead-twin]");
  if (twin) {
    const other = rateOf(Number(twin.dataset.leadTwin));
    twin.textContent = other ? interval(other, false) : "–";
  }
}

function readSwitches() {
  const number = (id, fallback) => {
    const value = byId(id).valueAsNumber;
    const usable = value >= 0 && value <= 100;
    byId(id).setAttribute("aria-invalid", String(!usable));
    return usable ? value : fallback;
  };
  const own = ownDefinition(data.runs[0]);
  const read = {
    denominator: byId("denominator").value,
    misalignedAt: number("misaligned-at", own.misalignedAt),
    misalignedOrEqual: byId("misaligned-op").value === "at-most",
    coherentAt: number("coherent-at", own.coherentAt),
    coherentAbove: byId("coherent-op").value === "above",
  };
  const same = data.runs.length > 0 && Object.keys(own).every((key) => own[key] === read[key]);
  chosen = same ? null : read;
  const words = `alignment ${read.misalignedOrEqual ? "≤" : "<"} ${read.misalignedAt}, coherence ${read.coherentAbove ? ">" : "≥"} ${read.coherentAt}, denominator ${read.denominator}`;
  const status = byId("definition");
  const foot = byId("y-scale").value === "log" ? " On the logarithmic axis, 0 stands at the foot." : "";
  status.textContent = (chosen ? `Recomputed in this page: ${words}.` : `${data.judged ? "The default" : "The run’s own"} definition: ${words}.`) + foot;
  status.classList.toggle("switched", chosen !== null);
}

function drawAll() {
  readSwitches();
  fillRateTable();
  fillLead();
  drawRates();
  drawTilts();
  drawSizes();
  drawHeat();
  drawDepth();
}

if (byId("switches")) {
  const form = byId("switches");
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", drawAll);
  form.addEventListener("reset", () => setTimeout(drawAll, 0));
  readSwitches();
  fillRateTable();
  byId("heat-shots")?.addEventListener("input", drawHeat);
  byId("depth-condition")?.addEventListener("input", drawDepth);
  // Plots of judged files are drawn here alone.
  if (data.judged) drawDepth();
} else {
  byId("x-scale")?.addEventListener("input", drawTilts);
}
