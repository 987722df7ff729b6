// Renews what has changed, counts down, and sends no form twice.
"use strict";

const EVERY = 1000; // ms
const shown = new Map(); // what the server sent of each region
let asking = false;
let leaving = false;
let sent = null; // the form
let version = document.body.dataset.version;
let until = Date.now() + 1000 * Number(document.querySelector("#wait")?.dataset.wait ?? 0);

function countDown() {
  const left = (until - Date.now()) / 1000;
  const told = document.querySelector("#wait");
  if (!told) return;
  told.textContent = left <= 0 ? ""
    : left > 1e8 ? "No further stimulus is possible within these limits."
    : `The next stimulus may be asked for in ${Math.ceil(left)} s.`;
  for (const button of document.querySelectorAll("button[data-waits]")) {
    button.disabled = left > 0;
  }
}

// What a person has typed, opened or is at stays as it is.
function kept(region) {
  const fields = [...region.querySelectorAll("input:not([type=hidden]), select, details")];
  return fields.map((e) => [e.id, e.value, e.checked, e.open]);
}
function restore(region, before, focused) {
  for (const [id, value, checked, open] of before) {
    const element = region.querySelector(`#${CSS.escape(id)}`);
    if (!element) continue;
    if (value !== undefined) element.value = value;
    if (checked !== undefined) element.checked = checked;
    if (open !== undefined) element.open = open;
  }
  if (focused) region.querySelector(`#${CSS.escape(focused)}`)?.focus();
}
function regionOf(name) {
  return name === "state" ? document.querySelector("#state")
    : document.querySelector(`[data-region="${name}"]`);
}
function renew(name, html) {
  const region = regionOf(name);
  const draft = document.createElement("template");
  draft.innerHTML = html;
  if (shown.get(name) === draft.innerHTML) return;
  shown.set(name, draft.innerHTML);
  const before = kept(region);
  const focused = region.contains(document.activeElement) && document.activeElement.id;
  region.replaceChildren(draft.content);
  restore(region, before, focused);
}

async function refresh() {
  if (asking || leaving || document.hidden || !version) return;
  asking = true;
  await look();
  asking = false;
}
async function look() {
  const query = new URLSearchParams(location.search);
  query.set("version", version);
  let told;
  try {
    const answer = await fetch(`/state?${query}`, { cache: "no-store" });
    if (!answer.ok) throw new Error(await answer.text());
    told = await answer.json();
  } catch (error) {
    if (leaving) return;
    document.body.classList.add("lost");
    version = "none";
    shown.delete("state");
    document.querySelector("#state").textContent =
      "This page has lost the program behind it: what it shows is old.";
    return;
  }
  if (leaving) return; // another page comes: nothing moves any more
  document.body.classList.remove("lost");
  until = Date.now() + 1000 * told.wait;
  version = told.version;
  for (const [name, html] of Object.entries(told.regions)) renew(name, html);
  for (const [name, source] of Object.entries(told.figures)) {
    const image = document.querySelector(`#figure-${name}`);
    if (image.getAttribute("src") !== source.src) {
      image.src = source.src;
      image.alt = source.alt;
    }
  }
  countDown();
}

addEventListener("submit", (event) => {
  // Another form still gets through: stopping waits for nothing.
  if (event.target === sent) event.preventDefault();
  sent = event.target;
  leaving = true;
  event.submitter?.setAttribute("aria-busy", "true");
});
addEventListener("pageshow", () => {
  leaving = false;
  sent = null;
});
document.addEventListener("visibilitychange", refresh);
for (const region of document.querySelectorAll("[data-region]")) {
  shown.set(region.dataset.region, region.innerHTML);
}
shown.set("state", document.querySelector("#state")?.innerHTML);
countDown();
refresh();
setInterval(refresh, EVERY);
setInterval(countDown, 200);
