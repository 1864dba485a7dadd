// Adds what needs a script: buttons that copy, and a box that ticks all others.
// Everything else works without one.
"use strict";

const live = document.getElementById("live");

function say(text) {
  live.textContent = "";
  // Set later, so that the same text is read out again.
  setTimeout(() => { live.textContent = text; }, 50);
}

for (const source of document.querySelectorAll("[data-copy]")) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "button copy";
  button.textContent = "Copy";
  button.setAttribute("aria-label", "Copy " + source.dataset.copy);
  let timer;
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(source.textContent);
      button.textContent = "Copied";
      say("Copied " + source.dataset.copy);
      clearTimeout(timer);
      timer = setTimeout(() => { button.textContent = "Copy"; }, 3000);
    } catch {
      // There is no clipboard over plain HTTP.
      getSelection().selectAllChildren(source);
      say("The text is selected: copy it by the keyboard");
    }
  });
  source.after(button);
}

for (const place of document.querySelectorAll("[data-select-all]")) {
  const boxes = [...place.closest("form").querySelectorAll("input[type=checkbox][name=" + place.dataset.selectAll + "]")];
  const all = document.createElement("input");
  all.type = "checkbox";
  all.setAttribute("aria-label", "Select all tokens on this page");
  const show = () => {
    const ticked = boxes.filter(box => box.checked).length;
    all.checked = ticked > 0 && ticked === boxes.length;
    all.indeterminate = ticked > 0 && ticked < boxes.length;
  };
  all.addEventListener("change", () => {
    for (const box of boxes) box.checked = all.checked;
    say(all.checked ? boxes.length + " selected" : "None selected");
  });
  for (const box of boxes) box.addEventListener("change", show);
  place.replaceChildren(all);
  show();
}
