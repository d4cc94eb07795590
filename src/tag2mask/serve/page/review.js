// The review: what every stage made of an image, and what a person says of it.

import { ask, element, say, swatch } from "./client.js";

const PAGE = 12;
const STAGES = { cam: "Activation maps", seed: "Seeds", vote: "Labels", clean: "Clean pixels" };
const MARKS = { leave_out: "Leave out", wrong_tags: "Tags are wrong" };
const get = (id) => document.getElementById(id);
let about = null;
let offset = 0;
let turn = 0;

const inSight = new IntersectionObserver(
  (seen) => {
    for (const { isIntersecting, target } of seen) {
      if (!isIntersecting) continue;
      inSight.unobserve(target);
      fill(target);
    }
  },
  { rootMargin: "400px" },
);

async function fill(picture) {
  try {
    const content = await (await ask(picture.dataset.path)).blob();
    picture.addEventListener("load", () => URL.revokeObjectURL(picture.src), { once: true });
    picture.src = URL.createObjectURL(content);
  } catch (error) {
    picture.alt = error.message;
  }
}

function lazy(path, image, alt) {
  const picture = element("img", { alt, width: image.width, height: image.height });
  picture.dataset.path = path;
  inSight.observe(picture);
  return picture;
}

function figure(image, layer) {
  const query = new URLSearchParams({ image: image.name });
  const stack = element("div", { className: "stack" });
  stack.append(lazy(`/review/photo?${query}`, image, layer ? "" : `Photo ${image.name}`));
  let caption = "Image";
  if (layer) {
    query.set("layer", layer.name);
    caption = `${STAGES[layer.stage]}: ${layer.detail}`;
    stack.append(lazy(`/review/layer?${query}`, image, `${caption}, ${image.name}`));
  }
  return element("figure", {}, stack, element("figcaption", {}, caption));
}

function card(image) {
  const tags = image.tags.map((tag) => about.classes[tag].name).join(", ") || "no tag";
  const stage = get("filter-stage").value;
  const layers = image.layers.filter((layer) => !stage || layer.stage === stage);
  const made = element(
    "article",
    {},
    element(
      "div",
      { className: "head" },
      element("h3", {}, image.name),
      buttons(image),
      element("p", {}, `${(100 * image.unanimous).toFixed(1)} % unanimous; tags: ${tags}`),
    ),
    element(
      "div",
      { className: "pictures" },
      figure(image, null),
      ...layers.map((layer) => figure(image, layer)),
    ),
  );
  made.classList.toggle("marked", image.mark !== "keep");
  return made;
}

function buttons(image) {
  const made = Object.entries(MARKS).map(([mark, text]) => {
    const button = element("button", { type: "button" }, text);
    button.setAttribute("aria-label", `${text}: ${image.name}`);
    button.disabled = about.review === null;
    button.addEventListener("click", () => set(image, mark, made));
    button.dataset.mark = mark;
    return button;
  });
  press(image, made);
  return element("div", { className: "buttons" }, ...made);
}

function press(image, made) {
  for (const button of made) {
    button.setAttribute("aria-pressed", String(button.dataset.mark === image.mark));
    button.closest("article")?.classList.toggle("marked", image.mark !== "keep");
  }
}

async function set(image, mark, made) {
  const wanted = image.mark === mark ? "keep" : mark;
  try {
    await ask("/review/marks", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ image: image.name, mark: wanted }),
    });
    image.mark = wanted;
    press(image, made);
    say(wanted === "keep" ? `${image.name}: mark taken back.` : `${image.name}: ${MARKS[wanted]}.`);
  } catch (error) {
    say(`${image.name}: ${error.message}`, true);
  }
}

async function load({ afresh }) {
  const mine = ++turn;
  if (afresh) offset = 0;
  const query = new URLSearchParams({
    marked: get("filter-marks").value,
    offset,
    limit: PAGE,
  });
  if (get("filter-class").value) query.set("tag", get("filter-class").value);
  say("Reading the votes …");
  try {
    const page = await (await ask(`/review/images?${query}`)).json();
    if (mine !== turn) return;
    const cards = page.images.map(card);
    if (afresh) get("cards").replaceChildren(...cards);
    else get("cards").append(...cards);
    offset += page.images.length;
    get("more").hidden = offset >= page.total;
    say(`${offset} of ${page.total} images, least agreement first.`);
  } catch (error) {
    if (mine === turn) say(error.message, true);
  }
}

export async function startReview() {
  about = await (await ask("/review")).json();
  get("review-hint").textContent = about.review
    ? `Marks go to ${about.review}. The next run of the recipe leaves marked images out; ` +
      `"Tags are wrong" counts until the tags change.`
    : "The recipe honours no marks: data.review is empty.";
  const classes = about.classes.slice(1);
  get("filter-class").append(
    ...classes.map((each) => element("option", { value: each.id }, each.name)),
  );
  get("filter-stage").append(
    ...about.stages.map((each) => element("option", { value: each }, STAGES[each])),
  );
  get("legend").replaceChildren(
    ...classes.map((each) => element("li", {}, swatch(each.colour), each.name)),
  );
  for (const id of ["filter-class", "filter-stage", "filter-marks"]) {
    get(id).addEventListener("change", () => load({ afresh: true }));
  }
  get("filters").addEventListener("submit", (event) => event.preventDefault());
  get("layer-opacity").addEventListener("input", ({ target }) => {
    get("cards").style.setProperty("--opacity", target.value / 100);
  });
  get("more").addEventListener("click", () => load({ afresh: false }));
  await load({ afresh: true });
}
