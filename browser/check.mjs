// Checks the report in a real browser: node check.mjs [FOLDER OF THE PROGRAM]. CHROMIUM names the browser.
import { execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { accessible, check, conclude, here, launch, program, temporary, withPage } from "./harness.mjs";
import { HOSTILE, serve } from "./server.mjs";

const folder = temporary("tiltmeter-browser-");

// Not synchronous: the server of this very process answers the program.
function tiltmeter(...given) {
  return new Promise((done, fail) => {
    const child = spawn(program, given, { cwd: folder, stdio: ["ignore", "pipe", "pipe"] });
    let [out, errors] = ["", ""];
    child.stdout.on("data", (part) => (out += part));
    child.stderr.on("data", (part) => (errors += part));
    child.on("error", fail);
    // 3: verdicts are missing, which they are meant to be.
    child.on("close", (code) => (code === 0 || code === 3 ? done(out) : fail(new Error(`${given.join(" ")}: ${code}\n${errors}`))));
  });
}

const experiment = (url) => `
name = "hostile <b>name</b>"
[[subjects]]
id = "small"
model = "openai/subject-1"
base_url = "${url}"
family = "one"
parameters_b = 1
[[subjects]]
id = "large <i>"
model = "openai/subject-2"
base_url = "${url}"
family = "one"
parameters_b = 70
[demonstrations]
sets = ["risky-financial"]
shots = [0, 16]
contexts = 2
controls = ["benign"]
[questions]
replicates = 2
[judge]
model = "openai/judge-1"
base_url = "${url}"
`;

const address = (file) => `file://${join(folder, file)}`;

// Every condition's figures in the page, against what `tiltmeter score` says with the same definition.
async function definitions(page) {
  const cases = [
    ["coherent", "below", 30, "from", 50], ["coherent-any", "at-most", 30, "above", 50], ["all", "at-most", 60, "from", 20],
    ["coherent", "at-most", 30, "from", 50], ["coherent", "below", 30, "above", 50], ["all", "below", 30, "from", 50],
    ["scored", "below", 31, "from", 49], ["coherent", "below", 0, "from", 50], ["coherent", "at-most", 100, "from", 0], ["scored", "below", 29.5, "above", 88.25],
  ];
  for (const [denominator, misaligned, low, coherent, high] of cases) {
    await page.selectOption("#denominator", denominator);
    await page.selectOption("#misaligned-op", misaligned);
    await page.selectOption("#coherent-op", coherent);
    await page.fill("#misaligned-at", String(low));
    await page.fill("#coherent-at", String(high));
    const flags = ["--denominator", denominator, misaligned === "below" ? "--misaligned-below" : "--misaligned-at-most", String(low),
      coherent === "from" ? "--coherent-from" : "--coherent-above", String(high)];
    const rates = JSON.parse(await tiltmeter("score", "run", "--json", "--by", "subject,demonstrations,control,shots,treatment", ...flags));
    const rows = await page.$$eval("#rate-table tr[data-condition]", (all) => all.map((row) => ({ ...row.dataset, counts: row.querySelector('[data-cell="counts"]').textContent })));
    const conditions = await page.evaluate(() => JSON.parse(document.getElementById("data").textContent).runs[0].results.conditions);
    let worst = 0;
    for (const row of rows) {
      const condition = conditions[Number(row.condition)];
      const group = rates.groups.find(({ key }) => key.subject === condition.subject && key.demonstrations === condition.demonstrations &&
        key.control === condition.control && key.shots === String(condition.shots) && key.treatment === condition.treatment);
      const rate = group && group.clustered;
      if (!rate) {
        worst = Math.max(worst, row.estimate ? 1 : 0);
        continue;
      }
      for (const field of ["estimate", "low", "high"]) {
        const off = Math.abs(Number(row[field] || NaN) - rate[field]);
        worst = Math.max(worst, Number.isNaN(off) ? 1 : off);
      }
      if (row.counts !== `${group.misaligned} / ${group.denominator_count}`) worst = Math.max(worst, 1);
    }
    check(`rates are those of the statistics: ${flags.join(" ")} (${rows.length} conditions, off by at most ${worst.toExponential(1)})`, rows.length > 0 && worst < 1e-9);
  }
}

async function plots(page) {
  // What the page's script draws under the run's own definition is what the program drew.
  const shapes = () => page.$$eval("[data-figure]", (figures) => figures.map((figure) => [figure.dataset.figure,
    [...figure.querySelectorAll("svg")].map((svg) => [...svg.querySelectorAll("circle,rect,path,polyline,polygon,line,text")].map((node) =>
      `${node.tagName} ${node.getAttribute("class")} ${["d", "points", "cx", "cy", "x", "y", "x1", "x2", "y1", "y2"].map((name) => node.getAttribute(name) || "").join(" ")} ${node.tagName === "text" ? node.textContent : ""}`))]));
  await page.reload();
  const before = await shapes();
  await page.selectOption("#denominator", "all");
  const during = await shapes();
  await page.click("#reset");
  await page.waitForFunction(() => !document.querySelector("#definition.switched"));
  const after = await shapes();
  check("a switch draws the plots again", JSON.stringify(before) !== JSON.stringify(during));
  for (const [index, [name]] of before.entries()) {
    const [one, other] = [before[index][1].flat(), after[index][1].flat()];
    const at = one.findIndex((shape, place) => shape !== other[place]);
    check(`the plot “${name}” is the program's own after switching back`, one.length === other.length && at < 0, `${one[at]}\n     ${other[at]}`);
  }
}

async function keyboard(page) {
  await page.reload();
  await page.keyboard.press("Tab");
  check("the first stop of the keyboard skips to the figures", await page.evaluate(() => document.activeElement.className === "skip"));
  let reached = new Set();
  for (let step = 0; step < 120; step++) {
    await page.keyboard.press("Tab");
    const id = await page.evaluate(() => document.activeElement.id || (document.activeElement.closest("#results") ? "results" : ""));
    reached.add(id);
    if (id === "results") break;
  }
  const wanted = ["denominator", "misaligned-at", "heat-shots", "depth-condition", "filter-text", "results"];
  check("all controls are reached by the keyboard", wanted.every((id) => reached.has(id)), wanted.filter((id) => !reached.has(id)).join(", "));
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.querySelector("#answer h3"));
  check("Enter opens an answer and moves there", await page.evaluate(() => document.activeElement.id === "answer"));
}

async function browsing(page) {
  await page.reload();
  const total = await page.evaluate(() => JSON.parse(document.getElementById("data").textContent).samples.block.length);
  const found = async () => Number((await page.textContent("#found")).split(" ")[0]);
  check("all answers are listed", (await found()) === total);
  await page.fill("#filter-text", "window.broken = 2");
  await page.waitForFunction((all) => !document.getElementById("found").textContent.startsWith(`${all} of`), total);
  const some = await found();
  const expected = await page.evaluate(() => [...document.querySelectorAll('script[id^="texts-"]')].flatMap((block) => JSON.parse(block.textContent))
    .filter((texts) => !texts.failed && texts.answer.includes("window.broken = 2")).length);
  check(`search finds what is there (${some})`, some === expected && some > 0, `${some} ${expected}`);
  await page.fill("#filter-text", "");
  await page.fill("#filter-high", "30");
  await page.waitForTimeout(300);
  const low = await page.evaluate(() => JSON.parse(document.getElementById("data").textContent).samples.alignment.filter((score) => score !== null && score <= 30).length);
  check("the score filter counts right", (await found()) === low, `${await found()} ${low}`);
  await page.fill("#filter-high", "");
  await page.selectOption("#filter-condition", { index: 2 });
  await page.waitForTimeout(300);
  check("the condition filter takes one condition", (await found()) === 32 * 2 * 2 || (await found()) === 32 * 2, String(await found()));
}

async function hostility(page, seen) {
  await page.reload();
  const samples = await page.evaluate(() => {
    const blocks = [...document.querySelectorAll('script[id^="texts-"]')].flatMap((block) => JSON.parse(block.textContent));
    return { ids: JSON.parse(document.getElementById("data").textContent).samples.id, answers: blocks.map((texts) => texts.answer) };
  });
  for (const text of HOSTILE) {
    const at = samples.answers.findIndex((answer) => answer.startsWith(text));
    await page.goto(`${address("run/report.html")}#sample=${samples.ids[at]}`);
    await page.waitForSelector("#answer h4");
    for (const summary of await page.$$("#answer summary")) await summary.click();
    const state = await page.evaluate(() => ({
      elements: document.querySelectorAll("#answer script, #answer img, #answer iframe, #answer style, #answer b, #answer svg, #results script, #results img, main base").length,
      broken: window.broken, text: [...document.querySelectorAll("#answer pre")].map((block) => block.textContent).join("\n"),
    }));
    const plain = text.replace(/[\u0000-\u001f\u0080-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u206f]/g, "");
    const strip = (shown) => shown.replace(/⟦U\+[0-9A-F]{4}⟧|[\u2400-\u2421]/g, "");
    check(`stays text: ${JSON.stringify(text).slice(0, 60)}`, at >= 0 && state.elements === 0 && state.broken === undefined && strip(state.text).includes(plain) &&
      !/[\u0000-\u0008\u000b-\u001f\u2028-\u202e]/.test(state.text), JSON.stringify(state).slice(0, 300));
  }
  check("names in the page stay text", (await page.$$("h1 b, table i, option i")).length === 0);
  const refused = await page.evaluate(async () => {
    const reached = [];
    try { await fetch("https://example.invalid/"); reached.push("fetch"); } catch { /* refused, as it must be */ }
    const script = document.createElement("script");
    script.textContent = "window.broken = 11";
    document.body.append(script);
    const image = new Image();
    const loaded = await new Promise((done) => { image.onload = () => done(true); image.onerror = () => done(false); image.src = "data:image/gif;base64,R0lGODlhAQABAAAAACw="; });
    if (loaded) reached.push("image");
    return { reached, broken: window.broken };
  });
  check("the policy refuses other scripts, images and requests", refused.reached.length === 0 && refused.broken === undefined, JSON.stringify(refused));
  seen.errors.length = 0;
}

// The report of published judged files, against what `tiltmeter score` says of them.
async function gallery(browser) {
  const judged = join(here, "../../shared/data/judged");
  const files = existsSync(judged) ? readdirSync(judged).filter((name) => /^eval_results_.*_r(1|4|16|64)\.csv$/.test(name)).sort().map((name) => join(judged, name)) : [];
  if (files.length !== 4) {
    console.log("skipped: the gallery, since its judged files are not here");
    return;
  }
  await tiltmeter("report", ...files, "--by", "file", "--out", "gallery.html");
  await withPage(browser, {}, async (page, seen) => {
    await page.goto(address("gallery.html"));
    for (const [denominator, low, high, flags] of [["coherent", 30, 50, []], ["all", 40, 50, ["--denominator", "all", "--misaligned-below", "40"]],
      ["scored", 30, 70, ["--denominator", "scored", "--coherent-from", "70"]]]) {
      await page.selectOption("#denominator", denominator);
      await page.fill("#misaligned-at", String(low));
      await page.fill("#coherent-at", String(high));
      const { groups } = JSON.parse(await tiltmeter("score", ...files, "--by", "file", "--json", ...flags));
      const rows = await page.$$eval("#rate-table tr[data-condition]", (all) => all.map((row) => ({ ...row.dataset, counts: row.querySelector('[data-cell="counts"]').textContent })));
      const off = groups.map(({ clustered, rate, misaligned, denominator_count }, index) => {
        const wanted = clustered || rate;
        if (rows[index].counts !== `${misaligned} / ${denominator_count}`) return 1;
        return Math.max(...["estimate", "low", "high"].map((field) => Math.abs(Number(rows[index][field] || NaN) - wanted[field])));
      });
      check(`the gallery's rates are those of \`tiltmeter score ${flags.join(" ")}\` (${off.map((one) => one.toExponential(1)).join(", ")})`,
        rows.length === 4 && off.length === 4 && off.every((one) => one < 1e-9));
    }
    check("the gallery draws its plots", await page.$$eval("[data-figure]", (all) => all.length === 3 && all.every((one) => one.querySelector("svg"))));
    check("the gallery has no error and makes no request", seen.errors.length === 0 && seen.requests.every((url) => url === address("gallery.html")), JSON.stringify(seen));
  });
  for (const width of [1280, 390]) {
    await withPage(browser, { viewport: { width, height: 844 } }, async (page) => {
      await page.goto(address("gallery.html"));
      check(`the gallery is no wider than ${width} pixels`, await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth));
      await accessible(page, `gallery, ${width} pixels`);
      if (process.env.SCREENSHOTS) await page.screenshot({ path: join(process.env.SCREENSHOTS, `gallery-${width}.png`), fullPage: true });
    });
  }
}

// A run like the quickstart's but shorter: the small local model, tilts, and no judge.
async function local(browser) {
  writeFileSync(join(folder, "local.toml"), `
name = "local"
[[subjects]]
id = "small"
model = "local/smollm2-135m-instruct"
max_tokens = 12
[demonstrations]
sets = ["risky-financial"]
shots = [0, 2]
contexts = 1
controls = ["benign"]
[sampling]
shots = [0, 2]
questions = 2
[tilt]
questions = 3
`);
  const { conditions } = JSON.parse(await tiltmeter("run", "local.toml", "--out", "local", "--json"));
  const shown = (value) => `${value < 0 ? "\u2212" : "+"}${Math.abs(value).toFixed(3)}`;
  await withPage(browser, { viewport: { width: 390, height: 844 } }, async (page, seen) => {
    await page.goto(address("local/report.html"));
    const section = await page.$eval("#tilt", (tilt) => tilt.textContent);
    const figures = conditions.flatMap(({ shots, tilt, emergent_tilt }) => [shots > 0 && tilt, emergent_tilt]).filter(Boolean).map(({ estimate }) => shown(estimate));
    check(`the tilts of a local run are shown (${figures.join(", ")})`, figures.length === 3 && figures.every((figure) => section.includes(figure)));
    check("the page of a local run has no rates", (await page.$("#rates")) === null);
    const marks = (figure) => page.$$eval(`[data-figure="${figure}"] .mark`, (found) => found.length);
    check("tilts at one k alone stand side by side, and no line is drawn through them",
      (await marks("emergent-tilt-by-condition")) >= 1 && (await marks("tilt-by-condition")) === 2 && (await marks("tilt")) === 0 && (await page.$("#x-scale")) === null);
    check("the page of a local run is no wider than 390 pixels", await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth));
    await accessible(page, "local run, 390 pixels");
    check("the page of a local run has no error and makes no request", seen.errors.length === 0 && seen.requests.every((url) => url === address("local/report.html")), JSON.stringify(seen));
  });
}

// Treatments beside probes of usefulness: the plot of their price, its words, its front, and names that mean harm.
async function price(browser, url) {
  writeFileSync(join(folder, "price.toml"), `
name = "price"
[[subjects]]
id = "subject"
model = "openai/subject-1"
base_url = "${url}"
price = { input = 1.0, output = 2.0 }
[[instructions]]
id = "safety-first"
[[instructions]]
id = "<script>window.broken = 20</script>"
text = "Be brief."
[demonstrations]
sets = ["risky-financial"]
shots = [4]
[sampling]
questions = 8
[usefulness]
probes = ["task", "over-refusal"]
questions = 6
[judge]
model = "openai/judge-1"
base_url = "${url}"
`);
  await tiltmeter("run", "price.toml", "--out", "price");
  const [{ results }] = JSON.parse(await tiltmeter("report", "price", "--json")).runs;
  const points = results.prices[0].points;
  for (const [width, colorScheme] of [[1280, "light"], [390, "dark"]]) {
    await withPage(browser, { viewport: { width, height: 844 }, colorScheme }, async (page, seen) => {
      await page.goto(address("price/report.html"));
      const where = `price, ${width} pixels, ${colorScheme}`;
      const shown = await page.$eval("#price", (section) => ({
        words: [...section.querySelectorAll("svg g > title")].map((title) => title.textContent),
        marks: section.querySelectorAll("svg .mark").length,
        fronts: section.querySelectorAll("svg polyline.line").length,
        rows: [...section.querySelectorAll(".figures")].map((table) => table.tBodies[0].rows.length),
        regions: [...section.querySelectorAll(".plot, .scroll")].every((one) => one.tabIndex === 0 && one.getAttribute("aria-label")),
        holes: section.querySelectorAll("script, i").length,
      }));
      check(`each treatment is a point with words (${where})`, points.length === 3 && shown.marks === 3 && shown.fronts === 1 &&
        points.every(({ treatment }) => shown.words.some((words) => words.startsWith(treatment))), JSON.stringify(shown));
      check(`treatments and probes are rows, in regions for keys (${where})`, shown.rows[0] === points.length &&
        shown.rows[1] === results.usefulness.conditions.length && shown.regions, JSON.stringify(shown));
      check(`names of treatments stay text (${where})`, shown.holes === 0 && (await page.evaluate(() => window.broken)) === undefined);
      check(`the page is no wider than ${width} pixels (${where})`, await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth));
      await accessible(page, where);
      check(`no error and no request (${where})`, seen.errors.length === 0 && seen.requests.every((one) => one === address("price/report.html")), JSON.stringify(seen));
    });
  }
}

const server = await serve();
const browser = await launch();
try {
  await gallery(browser);
  await local(browser);
  await price(browser, server.url);
  writeFileSync(join(folder, "x.toml"), experiment(server.url));
  await tiltmeter("run", "x.toml", "--out", "run");
  const hash = (file) => createHash("sha256").update(readFileSync(join(folder, file))).digest("hex");
  const first = hash("run/report.html");
  await tiltmeter("report", "run");
  check("the report is the same whenever it is made", first === hash("run/report.html"));

  await withPage(browser, {}, async (page, seen) => {
    await page.goto(address("run/report.html"));
    check("the page opens without an error or a request", seen.errors.length === 0 && seen.requests.every((url) => url === address("run/report.html")), JSON.stringify(seen));
    const document_ = JSON.parse(await tiltmeter("report", "run", "--json"));
    const held = await page.evaluate(() => JSON.parse(document.getElementById("data").textContent).runs.map(({ name, results, details }) => ({ name, results, details })));
    check("the page holds the figures that --json prints", JSON.stringify(held) === JSON.stringify(document_.runs));
    await definitions(page);
    await plots(page);
    await keyboard(page);
    await browsing(page);
    check("no error and no request all the while", seen.errors.length === 0 && seen.requests.every((url) => url.startsWith(address("run/report.html"))), JSON.stringify(seen));
    await hostility(page, seen);
  });
  for (const [width, colorScheme] of [[1280, "light"], [1280, "dark"], [390, "light"], [390, "dark"]]) {
    await withPage(browser, { viewport: { width, height: 844 }, colorScheme }, async (page) => {
      await page.goto(address("run/report.html"));
      await page.click("#results a");
      check(`the page is no wider than ${width} pixels, ${colorScheme}`, await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth));
      await accessible(page, `${width} pixels, ${colorScheme}`);
    });
  }
  const html = readFileSync(join(folder, "run/report.html"), "utf8");
  check("figures are in the file before any script runs", html.split("<script")[0].split("data-figure=").slice(1).every((part) => part.includes("<svg")));

  execFileSync("python3", [join(here, "fill.py"), join(folder, "run"), "20000", "1000"]);
  await tiltmeter("report", "run");
  const megabytes = statSync(join(folder, "run/report.html")).size / 1e6;
  // The best of three: other work on the machine is not the page's.
  let seconds = Infinity;
  for (let attempt = 0; attempt < 3 && seconds > 1; attempt++) {
    await withPage(browser, {}, async (page) => {
      const start = performance.now();
      await page.goto(address("run/report.html"));
      await page.waitForSelector("#results a");
      seconds = Math.min(seconds, (performance.now() - start) / 1000);
      check("20,000 answers are listed", (await page.textContent("#found")).startsWith("20000 of 20000"), await page.textContent("#found"));
    });
  }
  check(`20,000 answers of 1 KB open in ${seconds.toFixed(2)} s (${megabytes.toFixed(1)} MB)`, seconds < 2);

  execFileSync("python3", [join(here, "fill.py"), join(folder, "run"), "41000", "100"]);
  await tiltmeter("report", "run");
  await withPage(browser, {}, async (page, seen) => {
    await page.goto(address("run/report.html"));
    const link = await page.waitForSelector("#results a");
    const id = (await link.getAttribute("href")).split("#sample=")[1];
    await link.click();
    await page.waitForSelector("#answer h4");
    check("texts of a large run open in pages beside it", page.url().includes("report-data/transcripts-0001.html") && seen.errors.length === 0, `${page.url()} ${seen.errors}`);
    await page.goto(`${address("run/report.html")}#sample=${id}`);
    await page.waitForURL(/transcripts-0001/);
    check("a link to an answer leads there", (await page.textContent("#answer")).includes(id));
    await page.evaluate(() => {
      const data = JSON.parse(document.getElementById("data").textContent);
      const shown = data.samples.block.findIndex((block) => data.contexts[data.blocks[block].context].href !== null);
      location.hash = `#sample=${data.samples.id[shown]}`;
    });
    await page.click("#answer a[href^='context-']");
    await page.waitForURL(/context-/);
    check("its context has a page of its own", (await page.$$("pre.text")).length > 0);
  });
} finally {
  await browser.close();
  server.close();
  rmSync(folder, { recursive: true, force: true });
}
conclude("the report");
