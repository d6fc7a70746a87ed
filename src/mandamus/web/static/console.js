// What a script adds to pages that are whole without one: copying, keys, search, and the way for htmx past Trusted Types.
"use strict";

if (window.trustedTypes) {
  // Only markup may pass, and only the server makes any; script texts and addresses stay refused.
  trustedTypes.createPolicy("default", { createHTML: (text) => text });
}

const one = (selector, root = document) => root.querySelector(selector);
const all = (selector, root = document) => [...root.querySelectorAll(selector)];

// A part of a page, as the server makes it; whoever is signed out meanwhile goes to the way in.
const part = async (address) => {
  const answer = await fetch(address);
  if (answer.redirected) location.assign("/sign-in");
  return answer.ok && !answer.redirected ? answer.text() : "";
};

// What only a script can do is hidden without one.
const show = () => { for (const each of all("[data-script]")) each.hidden = false; };
document.addEventListener("DOMContentLoaded", show);

// What somebody opened or closed stays so when the page's part comes anew.
const toggled = new Map();
document.addEventListener("click", (event) => {
  const details = event.target.closest("summary")?.parentElement;
  if (details?.id && !event.target.closest("a")) toggled.set(details.id, !details.open);
  for (const each of all("details.me[open]")) if (!each.contains(event.target)) each.open = false;
});
document.addEventListener("htmx:after:swap", () => {
  show();
  for (const [id, open] of toggled) document.getElementById(id)?.toggleAttribute("open", open);
  ring();
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy]");
  if (!button || button.textContent === "Copied") return;
  await navigator.clipboard.writeText(button.dataset.copy);
  const name = button.textContent;
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = name; }, 1500);
});

document.addEventListener("change", (event) => {
  const whole = event.target.closest("input[data-all]");
  if (whole) for (const each of all(".row input[type=checkbox]", whole.form)) each.checked = whole.checked;
});

// How many wait for the visitor: looked at again whenever the page is, and when something happens on it.
let rung = Date.now();
const ring = async () => {
  const bells = all(".bell");
  if (!bells.length || document.hidden || Date.now() - rung < 2000) return;
  rung = Date.now();
  const count = (await part("/approvals?part=count")).trim();
  for (const bell of bells) {
    bell.hidden = count === "";
    one(".count", bell).textContent = count;
  }
};
for (const name of ["visibilitychange", "focus"]) window.addEventListener(name, ring);

// Search: the field keeps the focus, and names the option that Enter opens.
const field = () => one("#palette input");
const options = () => all("#found [role=option]");
const choose = (option) => {
  for (const each of options()) each.setAttribute("aria-selected", String(each === option));
  if (option) field().setAttribute("aria-activedescendant", option.id);
  else field().removeAttribute("aria-activedescendant");
  option?.scrollIntoView({ block: "nearest" });
};
let asked = 0;
const search = async () => {
  const number = ++asked;
  const found = await part(`/search?part=1&q=${encodeURIComponent(field().value)}`);
  if (number !== asked) return;
  one("#found").innerHTML = found;
  field().setAttribute("aria-expanded", String(options().length > 0));
  one("#palette [role=status]").textContent = options().length ? `${options().length} found` : "Nothing found";
  choose(options()[0]);
};
let later;
document.addEventListener("input", (event) => {
  if (event.target !== field()) return;
  clearTimeout(later);
  later = setTimeout(search, 150);
});
const move = (step) => {
  const found = options();
  const at = found.findIndex((each) => each.getAttribute("aria-selected") === "true");
  choose(found[(at + step + found.length) % found.length]);
};
document.addEventListener("keydown", (event) => {
  if (event.target !== field()) return;
  const act = {
    ArrowDown: () => move(1),
    ArrowUp: () => move(-1),
    Enter: () => one("#found [aria-selected=true]")?.click(),
  }[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});

const open = async (name) => {
  const dialog = document.getElementById(name);
  if (!dialog || dialog.open) return;
  if (dialog.dataset.part && !dialog.firstChild) dialog.innerHTML = await part(dialog.dataset.part);
  dialog.showModal();
  if (name !== "palette") return;
  field().select();
  search();
};
document.addEventListener("click", (event) => {
  const link = event.target.closest("[data-open]");
  if (link && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
    event.preventDefault();
    open(link.dataset.open);
  }
  if (event.target.closest("[data-close]") || event.target.matches("dialog")) event.target.closest("dialog").close();
});

// To approve by a key takes a second yes. A page that only leads to a decision is left for that of the decision.
const approve = () => {
  const chosen = document.activeElement.closest(".row, .panel");
  const target = (chosen && one("[data-key=a]", chosen)) || one("[data-key=a]");
  if (!target?.dataset.sure) target?.click();
  else if (target.form.reportValidity()) open(target.dataset.sure);
};
const row = () => document.activeElement.closest(".row");
const step = (by) => {
  const links = all("a.whole");
  const next = links.findIndex((each) => row()?.contains(each)) + by;
  links[Math.max(0, Math.min(next, links.length - 1))]?.focus();
};
const find = () => one("[data-find], form.filters input, form.filters select");
const keys = {
  "?": () => open("keys"),
  "/": () => (find() ? find().focus() : open("palette")),
  a: approve,
  j: () => step(1),
  k: () => step(-1),
  x: () => row() && one("input[type=checkbox]", row())?.click(),
};
let going = false;
document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key === "k" && field()) {
    event.preventDefault();
    open("palette");
  }
  const busy = event.ctrlKey || event.metaKey || event.altKey || one("dialog[open]");
  // Keys of one letter can be turned off: speech and slips of the hand press them as well.
  if (busy || document.body.dataset.keys === "off" || event.target.closest("input:not([type=checkbox]), select, textarea")) return;
  if (going) {
    going = false;
    one(`a[data-go="${CSS.escape(event.key)}"]`)?.click();
  } else if (event.key === "g") {
    going = true;
    setTimeout(() => { going = false; }, 1000);
  } else if (Object.hasOwn(keys, event.key)) {
    event.preventDefault();
    keys[event.key]();
  }
});
