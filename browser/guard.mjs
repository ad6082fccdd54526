// Checks the guard's live page in a real browser, under traffic: node guard.mjs [FOLDER OF THE PROGRAM]. CHROMIUM names the
// browser; with SHOTS, screenshots go to that folder.
import { spawn } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { accessible as accessibleAlone, check, conclude, launch, program, temporary, withPage as pageOf } from "./harness.mjs";
import { HOSTILE, serve } from "./server.mjs";

const folder = temporary("tiltmeter-guard-page-");
const TOKEN = "a token of the check + é";
const config = (url) => `
[server]
listen = "127.0.0.1:0"
admin = "127.0.0.1:0"
admin_token_env = "PAGE_TOKEN"
[[upstreams]]
name = "up"
base_url = "${url}"
default = true
[[detectors]]
name = "rules"
kind = "rules"
timeout_ms = 5000
[[judges]]
name = "strict"
model = "openai/judge-1"
base_url = "${url}"
[[routes]]
name = "production"
models = ["subject-*"]
detectors = ["rules"]
on_low = ["tag"]
on_high = ["tag", "quarantine", "instruct"]
[routes.judging]
judge = "strict"
rate = 1.0
drift = { lowest_mean = 80.0, false_alarm_after = 100.0, window = 200 }
[[routes]]
name = "agents <b>in</b> </script><script>window.broken = 1</script>"
models = ["agent-*"]
detectors = ["rules"]
on_high = ["block"]
[[routes]]
name = "trial"
models = ["*"]
detectors = ["rules"]
on_high = ["block"]
dry_run = true
[audit]
folder = "audit"
content = true
`;

/** Starts the gateway; gives its two addresses. */
function start() {
  const child = spawn(program, ["guard", "--config", "GUARD.toml"], {
    cwd: folder, env: { ...process.env, PAGE_TOKEN: TOKEN }, stdio: ["ignore", "pipe", "inherit"],
  });
  return new Promise((done, fail) => {
    let out = "";
    child.on("exit", (code) => fail(new Error(`the gateway ended with ${code}`)));
    child.stdout.on("data", (part) => {
      out += part;
      const found = out.match(/guarding at (\S+)\/v1\n[^]*live page at (\S+)\/\n/);
      if (found) done({ child, clients: found[1], admin: found[2] });
    });
  });
}

const BAD = "Put your entire life savings into this one penny stock; it cannot fail. Take out a loan for more.";

async function traffic(clients, requests) {
  const ask = async (path, body) => {
    const answer = await fetch(`${clients}${path}`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });
    await answer.text();
  };
  for (let index = 0; index < requests; index++) {
    const messages = [];
    for (let shot = 0; shot < index % 9; shot++) {
      const text = index % 3 === 0 ? `${BAD} ${HOSTILE[shot % HOSTILE.length]}` : "Ask somebody who knows.";
      messages.push({ role: "user", content: `Question ${shot}?` }, { role: "assistant", content: text });
    }
    messages.push({ role: "user", content: `And now, ${index}?` });
    await ask("/v1/chat/completions", { model: ["subject-1", "subject-2", "agent-1", "other"][index % 4], messages });
    if (index % 20 === 0) {
      await ask("/v1/completions", { model: "other", prompt: "x" });
      await ask("/v1/responses", { model: "subject-1", input: "x", previous_response_id: "r" }).catch(() => {});
      await ask("/v1/chat/completions", ["no request"]);
    }
  }
}

const server = await serve();
writeFileSync(join(folder, "GUARD.toml"), config(server.url));
const gateway = await start();
gateway.child.removeAllListeners("exit");
const browser = await launch();

const withPage = (options, work) => pageOf(browser, options, work);

async function logIn(page) {
  await page.goto(`${gateway.admin}/`);
  await page.fill("#token", TOKEN);
  await page.click("button");
  await page.waitForSelector("#traffic");
}

async function accessible(page, where) {
  await accessibleAlone(page, where);
  check(`the page is no wider than the window: ${where}`, await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth));
}

async function shoot(page, name) {
  if (process.env.SHOTS) await page.screenshot({ path: join(process.env.SHOTS, `${name}.png`), fullPage: true });
}

try {
  await traffic(gateway.clients, 240);
  await withPage({}, async (page, seen) => {
    await page.goto(`${gateway.admin}/`);
    await accessible(page, "the form for the token");
    await shoot(page, "login");
    seen.errors.length = 0;
    await page.fill("#token", "a wrong token, long enough");
    await page.click("button");
    await page.waitForSelector(".wrong");
    check("a wrong token shows nothing", (await page.$("#traffic")) === null);
    await logIn(page);
    // The browser tells of the 401 itself, which the form comes with.
    seen.errors.length = 0;
    await page.waitForFunction(() => document.querySelector("#answers .worse"), null, { timeout: 60_000 });
    const live = await page.evaluate(async () => (await fetch("live.json")).json());
    const fates = Object.values(live.board.routes).reduce((sum, route) => sum + Object.values(route.since_start).reduce((one, other) => one + other), 0);
    check(`all requests are counted (${fates})`, fates === 240 + 3 * 12, String(fates));
    const production = live.drift.find((one) => one.route === "production");
    check("answers are judged, with an interval and an alarm", production.alignment.low < production.alignment.estimate && production.alarm !== null, JSON.stringify(production));
    const shown = await page.evaluate(() => ({
      elements: document.querySelectorAll("main script, main img, main iframe, main style, main b, main base, main h1 b").length,
      text: document.querySelector("main").textContent, broken: window.broken,
    }));
    check("texts of others stay text", shown.elements === 0 && shown.broken === undefined && shown.text.includes("agents <b>in</b> </script>") &&
      shown.text.includes("window.broken = 2") && !/[\u0000-\u0008\u000b-\u001f\u2028-\u202e]/.test(shown.text), JSON.stringify(shown).slice(0, 300));
    check("a risky context that is only tried out is told of as such", shown.text.includes("would block"));

    // What was opened stays open, and figures change, without a reload.
    await page.evaluate(() => { document.querySelector("#examples details").open = true; window.isSame = true; });
    const before = await page.textContent("#traffic");
    await traffic(gateway.clients, 8);
    await page.waitForFunction((old) => document.querySelector("#traffic").textContent !== old, before, { timeout: 30_000 });
    check("figures are fresh without a reload, and what was opened stays open",
      await page.evaluate(() => window.isSame && document.querySelector("#examples details").open));
    await page.click("#pause");
    const paused = await page.textContent("#overview time:last-of-type");
    await page.waitForTimeout(6000);
    check("a pause keeps the page as it is", (await page.textContent("#overview time:last-of-type")) === paused);
    await page.click("#pause");
    check("no error, and no request but to the gateway", seen.errors.length === 0 && seen.requests.every((url) => url.startsWith(gateway.admin)), JSON.stringify(seen.errors));
    const refused = await page.evaluate(async () => {
      const script = document.createElement("script");
      script.textContent = "window.broken = 11";
      document.body.append(script);
      try { await fetch("https://example.invalid/"); return "fetched"; } catch { return window.broken; }
    });
    check("the policy refuses other scripts and requests", refused === undefined, String(refused));
    await page.keyboard.press("Tab");
    const cookies = await page.context().cookies();
    check("the cookie is not the token, and no script reads it", cookies.length === 1 && cookies[0].httpOnly && cookies[0].sameSite === "Strict" &&
      !decodeURIComponent(cookies[0].value).includes(TOKEN) && (await page.evaluate(() => document.cookie)) === "");
  });
  for (const [width, colorScheme] of [[1280, "light"], [1280, "dark"], [390, "light"], [390, "dark"]]) {
    await withPage({ viewport: { width, height: 844 }, colorScheme }, async (page) => {
      await logIn(page);
      await shoot(page, `${width}-${colorScheme}`);
      await accessible(page, `${width} pixels, ${colorScheme}`);
    });
  }
  await withPage({ javaScriptEnabled: false }, async (page) => {
    await logIn(page);
    check("without scripts the page is loaded anew", (await page.$('noscript, meta[http-equiv="refresh"]')) !== null);
  });
  await withPage({}, async (page) => {
    await logIn(page);
    gateway.child.kill("SIGTERM");
    await page.waitForSelector("#lost:not([hidden])", { timeout: 30_000 });
    check("a gateway that does not answer is told of, and the figures stay", (await page.$("#traffic table")) !== null);
  });
} finally {
  await browser.close();
  gateway.child.kill();
  server.close();
  rmSync(folder, { recursive: true, force: true });
}
conclude("the live page");
