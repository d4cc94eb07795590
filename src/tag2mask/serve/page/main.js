// Which view is shown; each starts when it is first seen.

import { ask, say } from "./client.js";
import { startPredict } from "./predict.js";
import { startReview } from "./review.js";

const views = { predict: startPredict, review: startReview };
const started = new Set();

async function show(available) {
  const wanted = location.hash.slice(1);
  const name = available.includes(wanted) ? wanted : available[0];
  for (const each of Object.keys(views)) {
    document.getElementById(each).hidden = each !== name;
    const link = document.querySelector(`nav a[href="#${each}"]`);
    link.hidden = !available.includes(each);
    if (each === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  say("");
  if (!started.has(name)) {
    started.add(name);
    await views[name]();
  }
}

async function start() {
  const about = await (await ask("/about")).json();
  document.getElementById("name").textContent = about.name;
  document.title = `tag2mask: ${about.name}`;
  const available = Object.keys(views).filter((each) => about.views.includes(each));
  document.getElementById("views").hidden = available.length < 2;
  const tell = (error) => say(error.message, true);
  window.addEventListener("hashchange", () => show(available).catch(tell));
  await show(available);
}

start().catch((error) => say(error.message, true));
