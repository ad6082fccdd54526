// What both labelling pages do: show what the server says is next, and tell it what was said. Texts are shown as text alone:
// nothing here, or in what follows it, ever makes markup of them. The page's own script follows in the same file, and has
// `buttons`, the ids of what stores a label, and `fill`, which shows a task with what was typed before.
"use strict";

const element = (id) => document.getElementById(id);
// What was typed or marked beside labels, by place, for those that are taken back.
const kept = new Map();
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
    fill(state, task, kept.get(task.place));
    window.scrollTo(0, 0);
    element("answer").focus({ preventScroll: true });
  }
  enable();
}

function enable() {
  for (const id of [...buttons, "undo"]) {
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

/** Stores what was said of the answer that is shown; `typed` is what a page shows again when it is taken back. */
function tell(typed, label) {
  const note = element("note").value;
  kept.set(shown.task.place, { ...typed, note });
  ask("/label", { place: shown.task.place, ...label, note: note === "" ? null : note });
}

function undo() {
  if (shown && shown.can_undo) ask("/undo", {});
}

element("undo").addEventListener("click", undo);
