// Questions, traces and labels are shown as text alone: nothing here ever makes markup of them.
"use strict";

const element = (id) => document.getElementById(id);
const buttons = ["store", "cannot", "undo"];
// What was marked and typed, for those that are taken back.
const earlier = new Map();
let boxes = [];
let shown = null;
let busy = false;

function say(text) {
  element("message").textContent = text;
}

function part(parent, name, text) {
  const made = document.createElement(name);
  made.textContent = text;
  parent.append(made);
  return made;
}

/** One box for each label of the code book, the first nine with a key. */
function build(labels) {
  element("labels").replaceChildren();
  boxes = labels.map((label, place) => {
    const row = document.createElement("div");
    row.className = "code";
    const box = document.createElement("input");
    box.type = "checkbox";
    box.id = `label-${place}`;
    row.append(box);
    const name = part(row, "label", `${label.title} `);
    name.htmlFor = box.id;
    if (place < 9) part(name, "kbd", String(place + 1));
    const help = part(row, "p", label.definition);
    help.id = `help-${place}`;
    box.setAttribute("aria-describedby", help.id);
    for (const example of label.example ?? []) part(help, "span", `For example: “${example}”`);
    if (label.not) part(help, "span", `Does not count: ${label.not}`);
    element("labels").append(row);
    return { id: label.id, box };
  });
}

function show(state) {
  shown = state;
  const task = state.task;
  if (!boxes.length) build(state.labels);
  element("progress").textContent = `${state.done} of ${state.total} labelled`;
  element("who").textContent = state.annotator;
  element("bar").style.width = `${state.total ? (100 * state.done) / state.total : 0}%`;
  element("work").hidden = !task;
  element("finished").hidden = Boolean(task);
  if (task) {
    element("question").textContent = task.question;
    element("answer").textContent = task.answer;
    const before = earlier.get(task.place) ?? { labels: [], note: "" };
    for (const { id, box } of boxes) box.checked = before.labels.includes(id);
    element("note").value = before.note;
    window.scrollTo(0, 0);
    element("answer").focus({ preventScroll: true });
  }
  enable();
}

function enable() {
  for (const id of buttons) {
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

function store(canTell) {
  if (!shown || !shown.task || busy) return;
  const labels = boxes.filter(({ box }) => box.checked).map(({ id }) => id);
  const note = element("note").value;
  earlier.set(shown.task.place, { labels, note });
  ask("/label", { place: shown.task.place, labels: canTell ? labels : null, note: note === "" ? null : note });
}

function undo() {
  if (shown && shown.can_undo) ask("/undo", {});
}

element("store").addEventListener("click", () => store(true));
element("cannot").addEventListener("click", () => store(false));
element("undo").addEventListener("click", undo);

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const isNote = event.target === element("note");
  if (event.key === "Escape" || (event.key === "Enter" && isNote)) {
    event.target.blur();
    element("answer").focus({ preventScroll: true });
    return;
  }
  if (isNote) return;
  const key = event.key.toLowerCase();
  if (key >= "1" && key <= "9" && key.length === 1) {
    const found = boxes[Number(key) - 1];
    if (found) {
      event.preventDefault();
      found.box.checked = !found.box.checked;
    }
  } else if (key === "enter" && event.target.tagName !== "BUTTON") {
    event.preventDefault();
    store(true);
  } else if (key === "t") {
    event.preventDefault();
    store(false);
  } else if (key === "u") {
    event.preventDefault();
    undo();
  } else if (key === "n") {
    event.preventDefault();
    element("note").focus();
  }
});

ask("/task");
