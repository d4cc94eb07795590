// Requests with the token, if the server needs one; it is kept for this tab only.

const dialog = document.getElementById("token-dialog");
let asking = null;

function askForToken() {
  asking ??= new Promise((resolve) => {
    const form = document.getElementById("token-form");
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    form.onsubmit = (event) => {
      event.preventDefault();
      sessionStorage.setItem("token", document.getElementById("token").value.trim());
      dialog.close();
      asking = null;
      resolve();
    };
    dialog.showModal();
  });
  return asking;
}

export async function ask(path, options = {}) {
  const headers = new Headers(options.headers);
  const token = sessionStorage.getItem("token");
  if (token) headers.set("Authorization", `Bearer ${token}`);
  const answer = await fetch(path, { ...options, headers });
  if (answer.status === 401) {
    await askForToken();
    return ask(path, options);
  }
  if (!answer.ok) throw new Error(await reason(answer));
  return answer;
}

async function reason(answer) {
  try {
    const { detail } = await answer.json();
    return typeof detail === "string" ? detail : JSON.stringify(detail);
  } catch {
    return `the server answered ${answer.status}`;
  }
}

const message = document.getElementById("message");

export function say(text, failed = false) {
  message.classList.toggle("failed", failed);
  message.textContent = text;
}

export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

export function swatch(colour) {
  const made = element("span", { className: "swatch" });
  made.style.setProperty("background", colour);
  made.setAttribute("aria-hidden", "true");
  return made;
}
