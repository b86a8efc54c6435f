"use strict";

// Tables are sorted by a click on a heading: numbers by their values, what is missing always last.
for (const button of document.querySelectorAll("th button")) {
  button.addEventListener("click", () => {
    const heading = button.closest("th");
    const body = heading.closest("table").tBodies[0];
    const rising = heading.getAttribute("aria-sort") !== "ascending";
    for (const other of heading.parentElement.children) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const value = (row) => row.cells[heading.cellIndex].dataset.value;
    const rows = [...body.rows].sort((a, b) => {
      const [left, right] = [value(a), value(b)];
      if (left === "" || right === "") return (left === "") - (right === "");
      const order = isNaN(left) || isNaN(right) ? left.localeCompare(right) : left - right;
      return rising ? order : -order;
    });
    body.append(...rows);
  });
}

// What a pointer is over says its numbers, and the plot's other schemes step back.
const tip = document.getElementById("tip");
document.addEventListener("pointerover", (event) => {
  const mark = event.target.closest("[data-scheme]");
  for (const plot of document.querySelectorAll(".chosen")) plot.classList.remove("chosen");
  if (mark) {
    const plot = mark.closest("svg");
    plot.classList.add("chosen");
    for (const other of plot.querySelectorAll("[data-scheme]")) {
      other.classList.toggle("own", other.dataset.scheme === mark.dataset.scheme);
    }
  }
  const told = mark && (mark.dataset.tip || mark.dataset.scheme);
  tip.style.visibility = told ? "visible" : "hidden";
  if (!told) return;
  tip.textContent = told;
  const left = Math.min(event.clientX + 14, innerWidth - tip.offsetWidth - 8);
  const below = event.clientY + 18;
  const top = below + tip.offsetHeight > innerHeight ? event.clientY - tip.offsetHeight - 10 : below;
  tip.style.transform = `translate(${Math.max(8, left)}px, ${Math.max(8, top)}px)`;
});
