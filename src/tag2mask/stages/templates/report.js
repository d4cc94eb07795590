const all = (selector, inside = document) => [...inside.querySelectorAll(selector)];
const pick = (name) => document.getElementById(`pick-${name}`);

// what only works with this script is hidden until it runs
for (const control of all("[data-script]")) control.hidden = false;

for (const input of all("input[data-sets]"))
  input.addEventListener("input", () =>
    document.documentElement.style.setProperty(
      input.dataset.sets, input.value + input.dataset.unit));

// tables: a click on a heading sorts, numbers from the highest, words from a to z
const compare = (one, other, isNumber) =>
  isNumber ? parseFloat(one) - parseFloat(other) || 0
    : one.localeCompare(other, undefined, { numeric: true });
for (const table of all("table.sortable")) {
  const heads = all("thead th", table);
  heads.forEach((head, column) => {
    const isNumber = "number" in head.dataset;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const before = head.getAttribute("aria-sort");
      const falls = before ? before === "ascending" : isNumber;
      for (const each of heads) each.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", falls ? "descending" : "ascending");
      const text = (row) => row.cells[column].textContent.trim();
      const isKnown = (row) => !isNumber || !isNaN(parseFloat(text(row)));
      const body = table.tBodies[0];
      const rows = [...body.rows].sort((one, other) =>
        isKnown(other) - isKnown(one) ||
        (falls ? -1 : 1) * compare(text(one), text(other), isNumber));
      body.append(...rows);
    });
  });
}

// rows and classes that are looked for by stage or by name
for (const input of all("[data-filters]"))
  input.addEventListener("input", () => {
    const wanted = input.value.trim().toLowerCase();
    for (const item of all(input.dataset.filters)) {
      const key = item.dataset.key.toLowerCase();
      item.hidden = input.type === "search" ? !key.includes(wanted)
        : wanted !== "" && key !== wanted;
    }
  });

// panels: one picture at a time, chosen by a slider, or all side by side
const gallery = document.getElementById("gallery");
if (gallery) {
  const panels = all(".panel").map((panel) => {
    const cells = all(".cell", panel);
    const slide = panel.querySelector(".slide input");
    const show = (place) => {
      slide.value = place;
      cells.forEach((cell, number) => cell.classList.toggle("on", number === place));
      const caption = cells[place].querySelector("figcaption").textContent;
      slide.setAttribute("aria-valuetext", caption.trim());
    };
    slide.addEventListener("input", () => show(slide.valueAsNumber));
    show(slide.valueAsNumber);
    return { panel, cells, show, start: slide.valueAsNumber };
  });
  const has = (words, wanted) => !wanted || words.split(" ").includes(wanted);
  const filter = () => {
    for (const { panel } of panels)
      panel.hidden = !has(panel.dataset.classes, pick("class").value) ||
        !has(panel.dataset.groups, pick("group").value);
    const count = panels.filter(({ panel }) => !panel.hidden).length;
    pick("count").textContent = `${count} of ${panels.length} images`;
  };
  const showStage = () => {
    const wanted = pick("stage").value;
    for (const { cells, show, start } of panels) {
      for (const cell of cells)
        cell.classList.toggle("off", wanted !== "" && cell.dataset.kind !== wanted);
      const place = cells.findIndex((cell) => cell.dataset.kind === wanted);
      show(place < 0 ? start : place);
    }
  };
  const layOut = () => (gallery.className = pick("view").value);
  for (const name of ["class", "group"]) pick(name).addEventListener("input", filter);
  pick("stage").addEventListener("input", showStage);
  pick("view").addEventListener("input", layOut);
  for (const link of all("a[data-class]"))
    link.addEventListener("click", () => {
      [pick("group").value, pick("class").value] = ["", link.dataset.class];
      filter();
    });
  for (const link of all("a.thumb"))
    link.addEventListener("click", () => {
      if (!document.getElementById(link.hash.slice(1)).hidden) return;
      pick("group").value = pick("class").value = "";
      filter();
    });
  filter();
  showStage();
  layOut();
}

// a link into something folded unfolds it
const unfold = () => {
  const target = document.getElementById(location.hash.slice(1));
  if (target?.tagName === "DETAILS") target.open = true;
};
addEventListener("hashchange", unfold);
unfold();
