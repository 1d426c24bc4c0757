// The upload page: photographs are sent one by one, a few at a time, and each gets a card.
// Without this module the form is sent as a whole and the server renders the same cards.

const AT_ONCE = 4;
const MOST_TRIES = 6;

const form = document.getElementById("upload");
const input = document.getElementById("file");
const drop = form.querySelector(".drop");
const results = document.getElementById("results");
const status = document.getElementById("status");
const perCent = new Intl.NumberFormat(document.documentElement.lang, { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 });

const waiting = [];
let nUnderWay = 0;
let nDone = 0;
let nAll = 0;

document.documentElement.classList.add("has-script");

input.addEventListener("change", () => {
  add(input.files);
  input.value = "";
});
form.addEventListener("submit", (event) => event.preventDefault());

for (const name of ["dragenter", "dragover"]) {
  window.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.add("is-over");
  });
}
window.addEventListener("dragleave", (event) => {
  if (event.relatedTarget === null) drop.classList.remove("is-over");
});
window.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("is-over");
  add(event.dataTransfer.files);
});

function add(files) {
  const cards = [];
  for (const file of files) {
    const card = newCard(file);
    cards.push(card);
    waiting.push({ file, card });
  }
  nAll += cards.length;
  results.prepend(...cards);
  work();
}

function newCard(file) {
  const card = document.getElementById("card").content.firstElementChild.cloneNode(true);
  const name = card.querySelector(".filename");
  name.textContent = name.title = file.name;
  const image = card.querySelector("img");
  const url = URL.createObjectURL(file);
  // A format that the browser cannot show (HEIC in most) leaves the empty frame.
  image.addEventListener("load", () => URL.revokeObjectURL(url));
  image.addEventListener("error", () => { image.hidden = true; URL.revokeObjectURL(url); });
  image.src = url;
  image.hidden = false;
  card.classList.add("is-waiting");
  card.setAttribute("aria-busy", "true");
  return card;
}

function work() {
  while (nUnderWay < AT_ONCE && waiting.length > 0) {
    nUnderWay += 1;
    const next = waiting.shift();
    classify(next.file, next.card).finally(() => {
      nUnderWay -= 1;
      nDone += 1;
      work();
    });
  }
  const text = nDone < nAll ? form.dataset.busy : nAll > 0 ? form.dataset.done : "";
  status.textContent = text.replace("{done}", nDone).replace("{all}", nAll);
}

async function classify(file, card) {
  try {
    const [answer] = await send(file);
    show(card, answer);
  } catch (error) {
    fail(card, error.message);
  } finally {
    card.classList.remove("is-waiting");
    card.removeAttribute("aria-busy");
  }
}

async function send(file) {
  for (let n = 1; ; n += 1) {
    const body = new FormData();
    body.append("file", file, file.name);
    const response = await post(body);
    if (response.ok) return response.json();
    if (response.status !== 429 || n === MOST_TRIES) throw new Error(await sentence(response));
    const seconds = Number(response.headers.get("Retry-After")) || 1;
    await new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
  }
}

async function post(body) {
  try {
    return await fetch(form.dataset.api, { method: "POST", body });
  } catch {
    throw new Error(form.dataset.failed);
  }
}

async function sentence(response) {
  try {
    const { error } = await response.json();
    return [error.message, error.hint].filter(Boolean).join(" ");
  } catch {
    return form.dataset.failed;
  }
}

function show(card, answer) {
  const list = card.querySelector(".scores");
  for (const { label, score } of answer.predictions) {
    const row = document.getElementById("score").content.firstElementChild.cloneNode(true);
    row.querySelector(".label").textContent = label;
    row.querySelector(".per-cent").textContent = perCent.format(score);
    const bar = row.querySelector("progress");
    bar.value = score;
    bar.setAttribute("aria-label", label);
    list.append(row);
  }
  card.classList.toggle("is-unsure", answer.rejected);
  card.querySelector(".unsure").hidden = !answer.rejected;
}

function fail(card, text) {
  card.classList.add("is-error");
  const line = card.querySelector(".error");
  line.textContent = text;
  line.hidden = false;
}
