// The view of one image: the mask over it, its classes, and downloads.

import { ask, element, say, swatch } from "./client.js";
import { paint } from "./rle.js";

const BACKGROUND = 0;
const get = (id) => document.getElementById(id);
let shown = null; // the file, what the server found in it, and the classes hidden
let turn = 0;

function percent(share) {
  const value = 100 * share;
  return value > 0 && value < 0.1 ? "< 0.1 %" : `${value.toFixed(1)} %`;
}

function draw() {
  const canvas = get("mask");
  const { found, hidden } = shown;
  canvas.width = found.width;
  canvas.height = found.height;
  const picture = new ImageData(found.width, found.height);
  const visible = found.classes.filter(
    (each) => each.id !== BACKGROUND && !hidden.has(each.id),
  );
  for (const each of visible) paint(picture.data, each.rle, each.colour);
  canvas.getContext("2d").putImageData(picture, 0, 0);
  const names = visible.map((each) => `${each.name} ${percent(each.share)}`);
  canvas.setAttribute("aria-label", `Mask: ${names.join(", ") || "nothing shown"}`);
}

function row(each) {
  const label = element("label", {}, swatch(each.colour), each.name);
  if (each.id !== BACKGROUND) {
    const box = element("input", { type: "checkbox", checked: true });
    box.addEventListener("change", () => {
      if (box.checked) shown.hidden.delete(each.id);
      else shown.hidden.add(each.id);
      draw();
    });
    label.prepend(box);
  }
  const area = element("td", { className: "number" }, percent(each.share));
  return element("tr", {}, element("td", {}, label), area);
}

async function predict(file) {
  const mine = ++turn;
  say(`Looking at ${file.name} …`);
  try {
    const headers = { Accept: "application/json" };
    const answer = await ask("/predict", { method: "POST", body: file, headers });
    const found = await answer.json();
    if (mine === turn) show(file, found);
  } catch (error) {
    if (mine === turn) say(`${file.name}: ${error.message}`, true);
  }
}

function show(file, found) {
  shown = { file, found, hidden: new Set() };
  const photo = get("photo");
  URL.revokeObjectURL(photo.src);
  photo.src = URL.createObjectURL(file);
  photo.alt = `The image ${file.name}`;
  get("stack").style.setProperty("--width", found.width);
  get("stack").style.setProperty("--height", found.height);
  get("caption").textContent = `${file.name}, ${found.width} × ${found.height} pixels`;
  const largest = [...found.classes].sort((a, b) => b.share - a.share);
  get("classes").replaceChildren(...largest.map(row));
  draw();
  get("result").hidden = false;
  const names = largest.filter((each) => each.id !== BACKGROUND);
  const said = names.map((each) => `${each.name} ${percent(each.share)}`).join(", ");
  say(`Found in ${file.name}: ${said || "background only"}.`);
}

function save(content, suffix) {
  const link = element("a", { href: URL.createObjectURL(content) });
  link.download = shown.file.name.replace(/\.[^.]*$/, "") + suffix;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

async function savePng() {
  try {
    const options = { method: "POST", body: shown.file };
    const headers = { Accept: "image/png" };
    save(await (await ask("/predict", { ...options, headers })).blob(), ".png");
  } catch (error) {
    say(error.message, true);
  }
}

function saveJson() {
  const text = JSON.stringify(shown.found, null, 1);
  save(new Blob([text], { type: "application/json" }), ".json");
}

function inWords(protocol) {
  return Object.entries(protocol)
    .map(([key, value]) => `${key.replaceAll("_", " ")}: ${value}`)
    .join("; ");
}

function listen() {
  const drop = get("drop");
  get("file").addEventListener("change", ({ target }) => {
    if (target.files.length) predict(target.files[0]);
  });
  for (const kind of ["dragover", "dragleave", "drop"]) {
    document.addEventListener(kind, (event) => {
      if (get("predict").hidden) return;
      event.preventDefault();
      drop.classList.toggle("over", kind === "dragover");
      const file = kind === "drop" ? event.dataTransfer.files[0] : null;
      if (file) predict(file);
    });
  }
  get("opacity").addEventListener("input", ({ target }) => {
    get("stack").style.setProperty("--opacity", target.value / 100);
  });
  get("save-png").addEventListener("click", savePng);
  get("save-json").addEventListener("click", saveJson);
}

export async function startPredict() {
  listen(); // first: an image may come before the server has told of its model
  const model = await (await ask("/model")).json();
  get("protocol").textContent =
    `${model.classes.length - 1} classes; predicted at ${model.protocol_in_words}; ` +
    `version ${model.version}.`;
  const rows = model.scores.map((score) =>
    element(
      "tr",
      {},
      element("td", {}, `${score.stage} ${score.subject}`),
      element("td", { className: "number" }, score.miou?.toFixed(1) ?? "none"),
      element("td", {}, inWords(score.protocol)),
    ),
  );
  get("scores").hidden = !rows.length;
  get("scores").tBodies[0].replaceChildren(...rows);
}
