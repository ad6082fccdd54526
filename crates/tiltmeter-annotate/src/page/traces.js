const buttons = ["store", "cannot"];
let boxes = [];

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

function fill(state, task, before = { labels: [], note: "" }) {
  if (!boxes.length) build(state.labels);
  element("answer").textContent = task.answer;
  for (const { id, box } of boxes) box.checked = before.labels.includes(id);
  element("note").value = before.note;
}

function store(canTell) {
  if (!shown || !shown.task || busy) return;
  const labels = boxes.filter(({ box }) => box.checked).map(({ id }) => id);
  tell({ labels }, { labels: canTell ? labels : null });
}

element("store").addEventListener("click", () => store(true));
element("cannot").addEventListener("click", () => store(false));

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
