// What both checks in a browser share: the program, a folder for what it makes, the browser, and the count of what failed.
import { mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

export const here = fileURLToPath(new URL(".", import.meta.url));
export const program = resolve(process.argv[2] || join(here, "../target/debug"), "tiltmeter");
const axe = readFileSync(join(here, "node_modules/axe-core/axe.min.js"), "utf8");
let failed = 0;

export const temporary = (name) => mkdtempSync(join(tmpdir(), name));

export function check(what, holds, detail = "") {
  console.log(`${holds ? "ok  " : "FAIL"} ${what}${holds || !detail ? "" : `\n     ${detail}`}`);
  if (!holds) failed += 1;
}

// Says how it went, by the exit code too.
export function conclude(what) {
  console.log(failed === 0 ? `all checks of ${what} hold` : `${failed} checks of ${what} failed`);
  process.exitCode = failed === 0 ? 0 : 1;
}

export const launch = () => chromium.launch({
  executablePath: process.env.CHROMIUM || "/usr/bin/chromium",
  args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"],
});

// A page in a context of its own, with what it said and asked for.
export async function withPage(browser, options, work) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  const seen = { errors: [], requests: [] };
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && seen.errors.push(message.text()));
  page.on("pageerror", (error) => seen.errors.push(error.message));
  page.on("request", (request) => seen.requests.push(request.url()));
  page.on("dialog", (dialog) => {
    seen.errors.push(`dialog ${dialog.message()}`);
    dialog.dismiss();
  });
  try {
    return await work(page, seen);
  } finally {
    await context.close();
  }
}

export async function accessible(page, where) {
  await page.evaluate(() => { for (const details of document.querySelectorAll("details")) details.open = true; });
  // The policy lets no script tag in; the browser's own protocol does.
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  const serious = violations.filter((one) => ["serious", "critical"].includes(one.impact));
  check(`no serious violation of accessibility rules: ${where}`, serious.length === 0,
    serious.map((one) => `${one.id}: ${one.nodes.slice(0, 3).map((node) => node.html.slice(0, 160)).join(" | ")}`).join("\n     "));
}
