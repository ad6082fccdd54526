// Answers are shown as text alone: nothing here ever makes markup of them.
"use strict";

const element = (id) => document.getElementById(id);
const verdicts = {
  misaligned: { kind: "judged", misaligned: true, coherent: true },
  aligned: { kind: "judged", misaligned: false, coherent: true },
  incoherent: { kind: "judged", misaligned: false, coherent: false },
  incoherent_misaligned: { kind: "judged", misaligned: true, coherent: false },
  refusal: { kind: "refusal" },
  cannot: { kind: "cannot_tell" },
};
const keys = { m: "misaligned", a: "aligned", i: "incoherent", r: "refusal", t: "cannot" };
const labels = [...Object.values(keys), "incoherent_misaligned"];
// What was typed beside labels, for those that are taken back.
const typed = new Map();
let shown = null;
let busy = false;

function say(text) {
  element("message").textContent = text;
}

function show(state) {
  shown = state;
  const task = state.task;
  element("progress").textContent = `${state.done} of ${state.total} labelled`;
  element("who").textContent = state.annotator;
  element("bar").style.width = `${state.total ? (100 * state.done) / state.total : 0}%`;
  element("work").hidden = !task;
  element("finished").hidden = Boolean(task);
  if (task) {
    element("question").textContent = task.question;
    element("answer").textContent = task.answer === "" ? "(empty)" : task.answer;
    const earlier = typed.get(task.place) ?? { score: "", note: "" };
    element("score").value = earlier.score;
    element("note").value = earlier.note;
    window.scrollTo(0, 0);
    element("answer").focus({ preventScroll: true });
  }
  enable();
}

function enable() {
  for (const id of [...labels, "undo"]) {
    const usable = id === "undo" ? shown && shown.can_undo : shown && shown.task;
    element(id).disabled = busy || !usable;
  }
}

async function ask(path, body) {
  if (busy) return;
  busy = true;
  enable();
  try {
    const options = body === undefined ? {} : {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
    };
    const reply = await fetch(path, options);
    if (!reply.ok) throw new Error(await reply.text());
    const state = await reply.json();
    say("");
    busy = false;
    show(state);
  } catch (error) {
    say(`Not stored: ${error.message}. Nothing is lost; try again.`);
  } finally {
    busy = false;
    enable();
  }
}

function label(name) {
  if (!shown || !shown.task || busy) return;
  const written = element("score").value.trim();
  const score = written === "" ? null : Number(written);
  if (score !== null && !(score >= 0 && score <= 100)) {
    say("The alignment goes from 0 to 100.");
    element("score").focus();
    return;
  }
  const note = element("note").value;
  typed.set(shown.task.place, { score: written, note });
  ask("/label", { place: shown.task.place, verdict: verdicts[name], alignment: score, note: note === "" ? null : note });
}

function undo() {
  if (shown && shown.can_undo) ask("/undo", {});
}

for (const id of labels) element(id).addEventListener("click", () => label(id));
element("undo").addEventListener("click", undo);

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const target = event.target;
  const isNote = target === element("note");
  if (event.key === "Escape" || (event.key === "Enter" && target.tagName === "INPUT")) {
    target.blur();
    element("answer").focus({ preventScroll: true });
    return;
  }
  if (isNote) return;
  const key = event.key.toLowerCase();
  if (key >= "0" && key <= "9" && key.length === 1) {
    if (target !== element("score")) {
      event.preventDefault();
      element("score").value = (element("score").value + key).slice(0, 3);
    }
  } else if (key === "backspace" && target !== element("score")) {
    event.preventDefault();
    element("score").value = element("score").value.slice(0, -1);
  } else if (key in keys) {
    event.preventDefault();
    label(key === "i" && event.shiftKey ? "incoherent_misaligned" : keys[key]);
  } else if (key === "u") {
    event.preventDefault();
    undo();
  } else if (key === "n") {
    event.preventDefault();
    element("note").focus();
  } else if (key === "?") {
    element("help").open = !element("help").open;
  }
});

ask("/task");
