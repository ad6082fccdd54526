// The browser of answers. Texts are read when they are looked at, and become text nodes alone.

// What would act on a reader is shown instead, as `page/text.rs` does it.
function visible(text) {
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f]/g, (one) => String.fromCharCode(one === "\u007f" ? 0x2421 : 0x2400 + one.charCodeAt(0)))
    .replace(/[\u0080-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g,
      (one) => `⟦U+${one.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")}⟧`);
}

const VERDICTS = ["scored", "subject refused", "code", "judge declined", "unparsable", "filtered", "failed", "not judged", "withheld by a defence"];
const PAGE = 25;
const SHOWN_CHARACTERS = 20000;
const parsed = new Map();

function chunkOf(sample) {
  return data.chunks.findIndex(([start, end]) => sample >= start && sample < end);
}

// The texts of a sample; null where another page holds them.
function textsOf(sample) {
  const chunk = chunkOf(sample);
  if (chunk < 0 || data.chunks[chunk][2] !== null) return null;
  if (!parsed.has(chunk)) parsed.set(chunk, JSON.parse(byId(`texts-${chunk}`).textContent));
  return parsed.get(chunk)[sample - data.chunks[chunk][0]];
}

// The filters: each takes a sample, or is null where it is not used. A new one is a further entry, and a control for it.
const FILTERS = [
  () => {
    const value = byId("filter-condition").value;
    if (value === "") return null;
    const members = new Set(samplesOf(Number(value)));
    return (sample) => members.has(sample);
  },
  () => {
    const value = byId("filter-question").value;
    return value === "" ? null : (sample) => data.questions[data.samples.question[sample]].name === value;
  },
  () => {
    const value = byId("filter-verdict").value;
    if (value === "") return null;
    if (value.startsWith("probe ")) return (sample) => data.samples.probed[sample] === value.slice(6);
    if (value === "misaligned") return (sample) => isMisaligned(sample);
    return (sample) => !(sample in data.samples.probed) && data.samples.verdict[sample] === Number(value);
  },
  () => {
    const value = byId("filter-code")?.value ?? "";
    return value === "" ? null : (sample) => (data.samples.codes[sample] || []).includes(Number(value));
  },
  () => {
    const [low, high] = [byId("filter-low").valueAsNumber, byId("filter-high").valueAsNumber];
    if (Number.isNaN(low) && Number.isNaN(high)) return null;
    return (sample) => {
      const score = data.samples.alignment[sample];
      return score !== null && !(score < low) && !(score > high);
    };
  },
  () => {
    const wanted = byId("filter-text").value.trim().toLowerCase();
    if (!wanted) return null;
    return (sample) => {
      const texts = textsOf(sample);
      if (!texts) return false;
      const all = texts.failed || [texts.answer, texts.raw, texts.reasoning, ...texts.judged.flatMap((one) => one.replies), ...(texts.parts || []).map((part) => part.said)];
      return all.some((text) => text && text.toLowerCase().includes(wanted));
    };
  },
];

// A trace with the words marked that labels rest on; of words that several rest on, each begins where the last has ended.
function markedTrace(trace, codings) {
  const spans = codings.flatMap((coding) => coding.labels.filter((label) => label.span)
    .map((label) => ({ start: label.span[0], end: label.span[1], what: `${label.label} (${coding.coder})` })));
  const ends = [...new Set([0, trace.length, ...spans.flatMap(({ start, end }) => [start, end])])]
    .filter((end) => end <= Math.min(trace.length, SHOWN_CHARACTERS)).sort((one, other) => one - other);
  const block = el("pre", { class: "text", dir: "auto", tabindex: "0" });
  ends.slice(1).forEach((end, at) => {
    const text = visible(trace.slice(ends[at], end));
    const labels = [...new Set(spans.filter((span) => span.start <= ends[at] && span.end >= end).map(({ what }) => what))];
    block.append(labels.length ? el("mark", { title: visible(labels.join("; ")) }, text) : text);
  });
  if (ends[ends.length - 1] < trace.length) block.append(visible(trace.slice(ends[ends.length - 1], SHOWN_CHARACTERS)));
  return trace.length <= SHOWN_CHARACTERS ? block : el("div", {}, block, textBlock(trace.slice(Math.max(SHOWN_CHARACTERS, ends[ends.length - 1]))));
}

const STATES = { held: "", not_in_trace: " – void: not in the trace", too_short: " – void: too short a quote", unknown: " – not in the code book" };

function codingPart(coding) {
  const items = coding.labels.map((label) => el("li", {}, el("strong", {}, visible(label.label)), visible(STATES[label.state] ?? ""),
    label.quote ? el("q", { dir: "auto" }, visible(label.quote)) : null));
  return [el("h4", {}, visible(`Coded by ${coding.coder}: ${coding.outcome}`)),
    items.length ? el("ul", { class: "codes" }, ...items) : el("p", { class: "note" }, coding.outcome === "coded" ? "No label applies." : "No labels.")];
}

// The run that a sample is of: that of the first condition with its block.
const runOfBlock = data.blocks.map((_, block) => (data.conditions.find((one) => one.blocks.includes(block)) || { run: 0 }).run);

function isMisaligned(sample) {
  const definition = chosen || ownDefinition(data.runs[runOfBlock[data.samples.block[sample]]]);
  return classify(definition, data.samples.alignment[sample], data.samples.coherence[sample]) === true;
}

const conditionsOf = (sample) => data.conditions.filter((condition) => condition.blocks.includes(data.samples.block[sample]) &&
  condition.questions.includes(data.samples.question[sample]) && data.samples.replicate[sample] < condition.replicates);

let found = [];
let page = 0;
let open = -1;

// What an answer to a probe comes to, in words.
const cameTo = (name) => `probe: ${name.replaceAll("_", " ")}`;

function badges(sample) {
  const { alignment, coherence, verdict, truncated, probed } = data.samples;
  const badge = (text, kind = "") => el("span", { class: `badge ${kind}` }, text);
  const score = (value) => (Number.isInteger(value) ? String(value) : value.toFixed(1));
  return el("span", { class: "badges" },
    alignment[sample] === null ? null : badge(`alignment ${score(alignment[sample])}`),
    coherence[sample] === null ? null : badge(`coherence ${score(coherence[sample])}`),
    verdict[sample] === 0 || probed[sample] ? null : badge(VERDICTS[verdict[sample]]),
    probed[sample] ? badge(cameTo(probed[sample])) : null,
    isMisaligned(sample) ? badge("misaligned", "misaligned") : null,
    truncated[sample] ? badge("truncated") : null,
    ...(data.samples.codes[sample] || []).map((label) => badge(visible(data.labels[label]), "code")));
}

function linkTo(sample) {
  const href = data.chunks[chunkOf(sample)][2];
  const id = data.samples.id[sample];
  const fragment = id ? `#sample=${id}` : `#call=${sample}`;
  return href === null ? fragment : `${href}${fragment}`;
}

function listItem(sample) {
  const texts = textsOf(sample);
  const conditions = conditionsOf(sample);
  const snippet = texts ? visible((texts.failed ? texts.failed[1] : texts.answer).slice(0, 240)) : "";
  return el("li", {}, el("a", { href: linkTo(sample), "aria-current": sample === open ? "true" : null, "data-sample": sample },
    el("span", { class: "where" }, `${conditions.length ? visible(conditions[0].title) : ""} · ${visible(data.questions[data.samples.question[sample]].name)}`),
    snippet ? el("span", { class: "what", dir: "auto" }, snippet) : null, badges(sample)));
}

function showList() {
  const pages = Math.max(1, Math.ceil(found.length / PAGE));
  page = Math.min(Math.max(page, 0), pages - 1);
  byId("found").textContent = `${found.length} of ${data.samples.block.length} answers`;
  byId("results").replaceChildren(...found.slice(page * PAGE, (page + 1) * PAGE).map(listItem));
  byId("page-number").textContent = `${page + 1} of ${pages}`;
  byId("before").disabled = page === 0;
  byId("after").disabled = page === pages - 1;
}

function filter() {
  const used = FILTERS.map((make) => make()).filter((one) => one !== null);
  found = [];
  for (let sample = 0; sample < data.samples.block.length; sample++) {
    if (used.every((test) => test(sample))) found.push(sample);
  }
  page = 0;
  showList();
}

function textBlock(text) {
  const block = el("pre", { class: "text", dir: "auto", tabindex: "0" });
  const characters = visible(text);
  block.textContent = characters.slice(0, SHOWN_CHARACTERS);
  if (characters.length <= SHOWN_CHARACTERS) return block;
  let at = SHOWN_CHARACTERS;
  const more = el("button", { type: "button" }, `Show more (${characters.length - at} characters left)`);
  more.addEventListener("click", () => {
    block.append(characters.slice(at, at + SHOWN_CHARACTERS));
    at += SHOWN_CHARACTERS;
    if (at >= characters.length) more.remove();
    else more.textContent = `Show more (${characters.length - at} characters left)`;
  });
  return el("div", {}, block, more);
}

// A part that is put together when it is opened.
function lazily(summary, fill) {
  const details = el("details", { class: "behind" }, el("summary", {}, summary));
  details.addEventListener("toggle", () => {
    if (details.open && details.children.length === 1) details.append(...fill());
  });
  return details;
}

function contextPart(block) {
  const number = data.blocks[block].context;
  const context = data.contexts[number];
  if (context.shots === 0) return el("p", { class: "note" }, "No demonstrations were shown.");
  if (context.reference !== null) return el("p", { class: "note" }, `Not passed on: ${visible(context.reference)}.`);
  const summary = `Context: ${context.shots} demonstrations, placed ${context.placement}, ${context.characters} characters`;
  if (context.href !== null) return el("p", {}, el("a", { href: context.href }, summary));
  return lazily(summary, () => {
    const { text, turns } = JSON.parse(byId(`context-${number}`).textContent);
    const whole = [text, ...turns.map(([role, said]) => `${role}:\n${said}`)].filter(Boolean).join("\n\n");
    return [textBlock(whole)];
  });
}

function judgePart(judged) {
  const parts = [el("h4", {}, `Judge on ${judged.aspect}: ${judged.outcome}`)];
  judged.replies.forEach((reply) => parts.push(textBlock(reply || "(empty)")));
  if (judged.distribution) {
    parts.push(lazily(`First token: ${judged.distribution.length} likeliest`, () => [el("table", { class: "tokens" },
      el("tbody", {}, el("tr", {}, el("th", { scope: "col" }, "token"), el("th", { scope: "col" }, "probability")),
        ...judged.distribution.map(([token, log]) => el("tr", {}, el("td", {}, el("code", {}, visible(JSON.stringify(token)))),
          el("td", {}, `${(Math.exp(log) * 100).toFixed(2)} %`)))))]));
  }
  const said = [judged.mass === null ? null : `${(judged.mass * 100).toFixed(1)} % of the probability on numbers`, judged.model].filter(Boolean);
  if (said.length) parts.push(el("p", { class: "note" }, visible(said.join("; "))));
  return parts;
}

// What an answer of several calls was put together from.
function partsOf(parts) {
  const names = { draw: "Draw", attempt: "Attempt", check: "Check" };
  const seen = {};
  return parts.flatMap((part) => {
    seen[part.role] = (seen[part.role] || 0) + 1;
    const title = `${names[part.role] || part.role} ${seen[part.role]}: ${part.outcome}${part.chosen ? " (the answer that was given)" : ""}`;
    return [el("h4", {}, visible(title)), textBlock(part.said || "(empty)")];
  });
}

function showAnswer(sample, focus) {
  const texts = textsOf(sample);
  if (!texts) return;
  open = sample;
  const question = data.questions[data.samples.question[sample]];
  const block = data.samples.block[sample];
  const id = data.samples.id[sample];
  const parts = [el("h3", {}, visible(question.name)), badges(sample),
    el("p", { class: "note" }, conditionsOf(sample).map((condition) => visible(condition.title)).join("; ")),
    el("p", { class: "note" }, el("a", { href: linkTo(sample) }, "Link to this answer"), id ? ` · ${id}` : "")];
  const wordings = question.wordings;
  const heading = (text) => parts.push(el("h4", {}, text));
  heading("Question");
  const wording = wordings ? wordings[(texts.wording || 0) % wordings.length] : null;
  parts.push(wording === null ? el("p", { class: "note" }, "Its wording may not be passed on.") : textBlock(wording));
  if (question.accepted) {
    heading("Useful where");
    parts.push(el("p", { dir: "auto" }, visible(question.accepted)));
  }
  if (texts.failed) {
    heading(`The call failed: ${texts.failed[0]}`);
    parts.push(textBlock(texts.failed[1]));
  } else {
    heading("Answer");
    parts.push(textBlock(texts.answer || "(empty)"));
    if (texts.reasoning) parts.push(lazily(`Reasoning, apart from the answer${texts.reasoning_kind ? ` (${texts.reasoning_kind})` : ""}`, () => [
      texts.codings ? markedTrace(texts.reasoning, texts.codings) : textBlock(texts.reasoning), ...(texts.codings || []).flatMap(codingPart)]));
    if (texts.raw) parts.push(lazily("All that the model said, before the answer was cut out of it", () => [textBlock(texts.raw)]));
    if (texts.parts) parts.push(lazily(`Put together from ${texts.parts.length} calls`, () => partsOf(texts.parts)));
  }
  const treatment = data.blocks[block];
  for (const [place, text] of treatment.treatment_texts) {
    heading(`Treatment ${visible(treatment.treatment)}, ${place}`);
    parts.push(textBlock(text));
  }
  heading("Shown before the question");
  parts.push(contextPart(block));
  for (const judged of texts.judged || []) parts.push(...judgePart(judged));
  if (!texts.failed) {
    const [input, cached, output, reasoning] = texts.tokens;
    const facts = [texts.model, `${input} tokens in (${cached} cached)`, `${output} out (${reasoning} of reasoning)`, `ended: ${texts.finish}`,
      texts.cost === null ? "cost not known" : `US$ ${texts.cost.toFixed(6)}`, `${texts.ms} ms`, `replicate ${data.samples.replicate[sample]}`, texts.at];
    parts.push(el("p", { class: "note" }, visible(facts.filter(Boolean).join(" · "))));
  }
  const article = byId("answer");
  article.replaceChildren(...parts);
  article.scrollTop = 0;
  for (const link of document.querySelectorAll("#results a")) {
    if (Number(link.dataset.sample) === sample) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
  if (focus) {
    article.focus({ preventScroll: true });
    const top = article.getBoundingClientRect().top;
    if (top < 0 || top > window.innerHeight * 0.7) article.scrollIntoView();
  }
}

// `#sample=ID`, also in part, and `#call=N` for a call that failed and has no id.
function followLink() {
  const named = /^#sample=([0-9a-f]{8,64})$/.exec(location.hash);
  const call = /^#call=([0-9]{1,9})$/.exec(location.hash);
  if (!named && !call) return;
  const sample = named ? data.samples.id.findIndex((id) => id.startsWith(named[1])) : Number(call[1]);
  if (sample < 0 || sample >= data.samples.block.length) {
    byId("answer").replaceChildren(el("p", { class: "note" }, `No answer here has the id ${named ? named[1] : call[1]}.`));
    return;
  }
  const href = data.chunks[chunkOf(sample)][2];
  if (href === null) showAnswer(sample, true);
  else location.replace(linkTo(sample));
}

if (byId("filters")) {
  const options = (id, entries) => byId(id).append(...entries.map(([value, text]) => el("option", { value }, visible(text))));
  const used = new Set(data.samples.block);
  options("filter-condition", data.conditions.map((condition, index) => [String(index), condition])
    .filter(([, condition]) => condition.blocks.some((block) => used.has(block))).map(([index, condition]) => [index, condition.title]));
  if (byId("filter-code")) options("filter-code", data.labels.map((label, place) => [String(place), label]));
  options("filter-question", [...new Set(data.samples.question)].map((question) => data.questions[question].name).sort().filter((name, at, all) => name !== all[at - 1]).map((name) => [name, name]));
  options("filter-verdict", [["misaligned", "misaligned"], ...VERDICTS.map((name, code) => [String(code), name]).filter(([code]) => data.samples.verdict.some((one, sample) => one === Number(code) && !(sample in data.samples.probed))),
    ...[...new Set(Object.values(data.samples.probed))].sort().map((what) => [`probe ${what}`, cameTo(what)])]);
  const elsewhere = data.chunks.some(([, , href]) => href !== null);
  if (elsewhere) {
    byId("filter-text").disabled = true;
    byId("filter-text").placeholder = "texts are in pages beside this one: search there";
  }
  let waiting = 0;
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("filters").addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(filter, 120);
  });
  const turn = (step) => () => {
    page += step;
    showList();
  };
  byId("before").addEventListener("click", turn(-1));
  byId("after").addEventListener("click", turn(1));
  window.addEventListener("hashchange", followLink);
  filter();
  followLink();
}

// The navigation shows which section is in view.
const links = new Map([...document.querySelectorAll(".top a")].map((link) => [link.hash.slice(1), link]));
if ("IntersectionObserver" in window && links.size) {
  const observer = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const link of links.values()) link.removeAttribute("aria-current");
      links.get(entry.target.id)?.setAttribute("aria-current", "true");
    }
  }, { rootMargin: "-15% 0px -75% 0px" });
  for (const id of links.keys()) observer.observe(document.getElementById(id));
}
