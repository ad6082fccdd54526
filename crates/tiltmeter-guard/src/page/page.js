"use strict";
// Replaces the sections by fresh ones every few seconds. What was opened, chosen or scrolled stays as it is.
(() => {
  const PERIOD = 5000;
  const board = document.getElementById("board");
  const lost = document.getElementById("lost");
  const pause = document.getElementById("pause");
  let isPaused = false;

  function keep(old, fresh) {
    for (const details of old.querySelectorAll("details[open][id]")) {
      const same = fresh.querySelector(`#${CSS.escape(details.id)}`);
      if (same) same.open = true;
    }
    const regions = fresh.querySelectorAll(".scroll");
    const scrolled = [...old.querySelectorAll(".scroll")].map((region) => [region.scrollLeft, region.scrollTop]);
    return () => regions.forEach((region, index) => region.scrollTo(...(scrolled[index] || [0, 0])));
  }

  async function refresh() {
    if (isPaused || document.hidden) return;
    let text;
    try {
      const answer = await fetch("live", { cache: "no-store" });
      if (answer.status === 401) return location.reload();
      if (!answer.ok) throw new Error(answer.statusText);
      text = await answer.text();
    } catch {
      lost.hidden = false;
      return;
    }
    lost.hidden = true;
    const fresh = new DOMParser().parseFromString(text, "text/html");
    const ids = [...fresh.body.children].map((section) => section.id).join();
    const here = [...board.children].map((section) => section.id).join();
    if (ids !== here) {
      board.replaceChildren(...fresh.body.children);
      return;
    }
    for (const section of [...fresh.body.children]) {
      const old = document.getElementById(section.id);
      const hasFocus = old.contains(document.activeElement);
      const isChosen = !getSelection().isCollapsed && old.contains(getSelection().anchorNode);
      // What somebody is at is left alone.
      if (hasFocus || isChosen || old.outerHTML === section.outerHTML) continue;
      const scroll = keep(old, section);
      old.replaceWith(section);
      scroll();
    }
  }

  pause.hidden = false;
  pause.addEventListener("click", () => {
    isPaused = !isPaused;
    pause.textContent = isPaused ? "Go on" : "Pause";
    if (!isPaused) refresh();
  });
  document.addEventListener("visibilitychange", refresh);
  setInterval(refresh, PERIOD);
})();
