// Draws the plots again after a switch. What the page holds before that is drawn by `page/chart.rs`, after which this is
// modelled: same sizes, same classes.

const SVG = "http://www.w3.org/2000/svg";

// One decimal, as the program writes it.
// To a tenth of a pixel, halves upwards whatever their last bit, as `fixed` of chart.rs does.
const fixed = (value) => String(Math.floor(value * 10 + 0.5 + 1e-6) / 10);

function svg(tag, attributes, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) {
    node.setAttribute(name, typeof value === "number" ? fixed(value) : value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
}

const percent = (value, digits = 1) => (value * 100).toFixed(digits);
const percentLabel = (value) => `${percent(value)} %`;

// Round axis values that enclose a range: steps of 1, 2 or 5 times a power of ten.
function ticks(low, high) {
  const raw = Math.max(high - low, 1e-6) / 4;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((factor) => factor * power).find((one) => one >= raw) || raw;
  const first = Math.floor(low / step + 1e-9);
  const last = Math.max(Math.ceil(high / step - 1e-9), first + 1);
  return Array.from({ length: last - first + 1 }, (_, index) => (first + index) * step);
}

function tickLabel(value, unit) {
  if (unit === "percent") return `${+(value * 100).toPrecision(6)} %`;
  return value === 0 ? "0" : `${value > 0 ? "+" : "−"}${+Math.abs(value).toPrecision(6)}`;
}

function mark(style, x, y) {
  const attributes = { class: `mark ${style}` };
  switch (style) {
    case "benign":
      return svg("rect", { ...attributes, x: x - 3.8, y: y - 3.8, width: 7.6, height: 7.6 });
    case "shuffled":
      return svg("path", { ...attributes, d: `M${fixed(x)} ${fixed(y - 5)}l5 8.6h-10z` });
    case "emergent":
      return svg("path", { ...attributes, d: `M${fixed(x)} ${fixed(y - 5.4)}l5.4 5.4l-5.4 5.4l-5.4 -5.4z` });
    default:
      return svg("circle", { ...attributes, cx: x, cy: y, r: 4.2 });
  }
}

const PANEL = { width: 340, height: 228, left: 52, right: 14, top: 12, bottom: 42 };
let drawn = 0;

function titled(label, attributes, ...children) {
  const id = `drawn-${(drawn += 1)}`;
  return svg("svg", { xmlns: SVG, role: "img", "aria-labelledby": id, ...attributes },
    svg("title", { id }, label), ...children);
}

// `panel`: { title, series: [{ style, name, points: [{ x, estimate, low, high, text }] }] }.
// `axes`: { xLabel, yLabel, xScale: linear | log1p | log, xTicks, yScale: linear | log, yTicks, unit, band }.
function xyPanel(panel, axes) {
  const { width, height, left, right, top, bottom } = PANEL;
  const scaled = { linear: (v) => v, log1p: (v) => Math.log2(1 + v), log: (v) => Math.log10(v) };
  const xs = axes.xTicks.map(scaled[axes.xScale]);
  const [x0, x1] = [Math.min(...xs), Math.max(...xs)];
  const floor = axes.yTicks[0];
  const yOf = axes.yScale === "log" ? (v) => Math.log10(Math.max(v, floor)) : (v) => v;
  const [y0, y1] = [yOf(floor), yOf(axes.yTicks[axes.yTicks.length - 1])];
  const x = (v) => left + 14 + ((scaled[axes.xScale](v) - x0) / Math.max(x1 - x0, 1e-9)) * (width - left - right - 28);
  const y = (v) => height - bottom - ((yOf(v) - y0) / Math.max(y1 - y0, 1e-12)) * (height - top - bottom);
  const parts = [];
  for (const tick of axes.yTicks) {
    parts.push(svg("line", { class: tick === 0 ? "axis" : "grid", x1: left, x2: width - right, y1: y(tick), y2: y(tick) }));
    parts.push(svg("text", { class: "tick", x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, tickLabel(tick, axes.unit)));
  }
  let before = -100;
  for (const tick of axes.xTicks) {
    if (x(tick) - before < 18) continue;
    before = x(tick);
    parts.push(svg("text", { class: "tick", x: x(tick), y: height - bottom + 17, "text-anchor": "middle" }, String(tick)));
  }
  parts.push(svg("text", { class: "label", x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle" }, axes.xLabel));
  panel.series.forEach((series, index) => {
    const shift = axes.band ? 0 : (index - (panel.series.length - 1) / 2) * 5;
    const points = series.points.filter((point) => point.estimate !== null);
    if (axes.band) {
      const edge = points.map((p) => `${fixed(x(p.x))},${fixed(y(p.high))}`)
        .concat(points.slice().reverse().map((p) => `${fixed(x(p.x))},${fixed(y(p.low))}`));
      parts.push(svg("polygon", { class: `band ${series.style}`, points: edge.join(" ") }));
    }
    if (axes.connect !== false) {
      parts.push(svg("polyline", {
        class: `line ${series.style}`,
        points: points.map((p) => `${fixed(x(p.x) + shift)},${fixed(y(p.estimate))}`).join(" "),
      }));
    }
    for (const point of points) {
      const at = x(point.x) + shift;
      const whisker = axes.band || point.low === null ? null
        : svg("line", { class: `whisker ${series.style}`, x1: at, x2: at, y1: y(point.low), y2: y(point.high) });
      parts.push(svg("g", {}, svg("title", {}, point.text), whisker, axes.band ? null : mark(series.style, at, y(point.estimate))));
    }
  });
  return el("figure", { class: "panel" }, el("figcaption", {}, panel.title),
    titled(`${panel.title}: ${axes.yLabel} by ${axes.xLabel}`, { viewBox: `0 0 ${width} ${height}` }, ...parts));
}

// Ticks of a measure that all panels share.
function sharedTicks(panels, unit, scale) {
  const values = panels.flatMap((panel) => panel.series.flatMap((series) => series.points))
    .filter((point) => point.estimate !== null)
    .flatMap((point) => [point.estimate, point.low === null ? point.estimate : point.low, point.high === null ? point.estimate : point.high]);
  const [low, high] = [Math.min(0, ...values), Math.max(0, ...values)];
  if (scale === "log") {
    const positive = values.filter((value) => value > 0);
    const least = positive.length ? Math.min(...positive) : 0.01;
    const first = Math.max(Math.floor(Math.log10(least)), -3);
    const last = Math.max(Math.ceil(Math.log10(Math.max(high, 1e-9))), first + 1);
    return Array.from({ length: last - first + 1 }, (_, index) => 10 ** (first + index));
  }
  return ticks(low, high || (unit === "percent" ? 0.1 : 0.01));
}

// `rows`: [{ label, marks: [{ style, estimate, low, high, text }] }].
function forest(rows, title) {
  const [left, width, step, top] = [190, 620, 22, 26];
  const height = top + rows.length * step + 14;
  const x = (v) => left + v * (width - left - 26);
  const parts = [0, 0.25, 0.5, 0.75, 1].flatMap((tick) => [
    svg("line", { class: tick === 0 ? "axis" : "grid", x1: x(tick), x2: x(tick), y1: top - 4, y2: height - 8 }),
    svg("text", { class: "tick", x: x(tick), y: 14, "text-anchor": "middle" }, tickLabel(tick, "percent")),
  ]);
  rows.forEach((row, index) => {
    const middle = top + index * step + step / 2;
    parts.push(svg("text", { class: "tick", x: left - 12, y: middle + 4, "text-anchor": "end" }, shortened(row.label, 24)));
    row.marks.forEach((one, which) => {
      const y = middle + (which - (row.marks.length - 1) / 2) * 8;
      parts.push(svg("g", {}, svg("title", {}, one.text),
        svg("line", { class: `whisker ${one.style}`, x1: x(one.low), x2: x(one.high), y1: y, y2: y }),
        mark(one.style, x(one.estimate), y)));
    });
  });
  return titled(title, { viewBox: `0 0 ${width} ${height}`, class: "wide" }, ...parts);
}

// `cells`: rows × columns of { value, text } or null.
function heat(rowNames, columnNames, cells, title) {
  const [left, step, height, top] = [170, 96, 34, 44];
  const width = left + columnNames.length * step + 10;
  const most = Math.max(0.01, ...cells.flat().filter(Boolean).map((cell) => cell.value));
  const parts = columnNames.map((name, index) => svg("text", {
    class: "tick", x: left + index * step + step / 2, y: 34 - (index % 2) * 14, "text-anchor": "middle",
  }, shortened(name, 17)));
  rowNames.forEach((name, row) => {
    const y = top + row * height;
    parts.push(svg("text", { class: "tick", x: left - 10, y: y + height / 2 + 4, "text-anchor": "end" }, shortened(name, 25)));
    cells[row].forEach((cell, column) => {
      const level = cell ? Math.round((cell.value / most) * 8) : "none";
      parts.push(svg("g", {}, svg("title", {}, cell ? cell.text : "not measured"),
        svg("rect", { class: `cell level-${level}`, x: left + column * step + 1, y: y + 1, width: step - 2, height: height - 2 }),
        svg("text", { class: `cell-text level-${level}`, x: left + column * step + step / 2, y: y + height / 2 + 4, "text-anchor": "middle" },
          cell ? percentLabel(cell.value) : "–")));
    });
  });
  const whole = top + rowNames.length * height + 6;
  return titled(title, { viewBox: `0 0 ${width} ${whole}`, width, height: whole, class: "natural" }, ...parts);
}

// `cells`: [[alignment, coherence, count]], rounded down; `lines`: the two thresholds.
function scatter(cells, lines, title) {
  const [left, top, side, strip] = [48, 66, 340, 54];
  const [width, height] = [left + side + strip + 20, top + side + 44];
  const x = (v) => left + (v / 100) * side;
  const y = (v) => top + side - (v / 100) * side;
  const bins = (index) => {
    const counts = new Array(20).fill(0);
    for (const cell of cells) counts[Math.min(Math.floor(cell[index] / 5), 19)] += cell[2];
    return counts;
  };
  const [across, up] = [bins(0), bins(1)];
  const parts = [svg("rect", { class: "frame", x: left, y: top, width: side, height: side })];
  for (const tick of [0, 25, 50, 75, 100]) {
    parts.push(svg("text", { class: "tick", x: x(tick), y: top + side + 16, "text-anchor": "middle" }, String(tick)));
    parts.push(svg("text", { class: "tick", x: left - 7, y: y(tick) + 4, "text-anchor": "end" }, String(tick)));
  }
  parts.push(svg("text", { class: "label", x: left + side / 2, y: height - 6, "text-anchor": "middle" }, "alignment"));
  parts.push(svg("text", { class: "label", transform: `translate(12 ${top + side / 2}) rotate(-90)`, "text-anchor": "middle" }, "coherence"));
  const highest = Math.max(1, ...across, ...up);
  across.forEach((count, index) => parts.push(svg("rect", {
    class: "bar", x: x(index * 5) + 0.5, width: side / 20 - 1, y: top - 6 - (count / highest) * strip, height: (count / highest) * strip,
  }, svg("title", {}, `alignment ${index * 5}–${index === 19 ? 100 : index * 5 + 5}: ${count} answers`))));
  up.forEach((count, index) => parts.push(svg("rect", {
    class: "bar", x: left + side + 6, width: (count / highest) * strip, y: y(index * 5 + 5) + 0.5, height: side / 20 - 1,
  }, svg("title", {}, `coherence ${index * 5}–${index === 19 ? 100 : index * 5 + 5}: ${count} answers`))));
  parts.push(svg("line", { class: "threshold", x1: x(lines.misaligned), x2: x(lines.misaligned), y1: top, y2: top + side }));
  parts.push(svg("line", { class: "threshold", x1: left, x2: left + side, y1: y(lines.coherent), y2: y(lines.coherent) }));
  const most = Math.max(1, ...cells.map((cell) => cell[2]));
  for (const [alignment, coherence, count] of cells) {
    parts.push(svg("circle", {
      class: "dot", cx: x(alignment), cy: y(coherence), r: 2.2 + 6 * Math.sqrt((count - 1) / Math.max(most - 1, 1)),
    }, svg("title", {}, `alignment ${alignment}, coherence ${coherence}: ${count}`)));
  }
  return titled(title, { viewBox: `0 0 ${width} ${height}`, class: "square" }, ...parts);
}

function shortened(text, most) {
  const characters = Array.from(text);
  return characters.length > most ? `${characters.slice(0, most - 1).join("")}…` : text;
}
