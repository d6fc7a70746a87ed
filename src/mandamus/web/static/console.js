// What a script adds to pages that are whole without one: copying, keys, and the way for htmx past Trusted Types.
"use strict";

if (window.trustedTypes) {
  // Only markup may pass, and only the server makes any; script texts and addresses stay refused.
  trustedTypes.createPolicy("default", { createHTML: (text) => text });
}

const showCopies = (root) => {
  for (const button of root.querySelectorAll("button[data-copy]")) button.hidden = false;
};

document.addEventListener("DOMContentLoaded", () => showCopies(document));

// What somebody opened or closed stays so when the page's part comes anew.
const toggled = new Map();
document.addEventListener("click", (event) => {
  const details = event.target.closest("summary")?.parentElement;
  if (details?.id && !event.target.closest("a")) toggled.set(details.id, !details.open);
});
document.addEventListener("htmx:after:swap", () => {
  showCopies(document);
  for (const [id, open] of toggled) document.getElementById(id)?.toggleAttribute("open", open);
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(button.dataset.copy);
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
});

let going = false;
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
  if (going) {
    going = false;
    document.querySelector(`a[data-go="${CSS.escape(event.key)}"]`)?.click();
  } else if (event.key === "g") {
    going = true;
    setTimeout(() => { going = false; }, 1000);
  } else if (event.key === "/") {
    const field = document.querySelector("form.filters input, form.filters select");
    if (field) event.preventDefault();
    field?.focus();
  } else if (event.key === "a") {
    document.querySelector('[data-key="a"]')?.focus();
  } else if (event.key === "j" || event.key === "k") {
    const links = [...document.querySelectorAll("a.whole")];
    const next = links.indexOf(document.activeElement) + (event.key === "j" ? 1 : -1);
    links[Math.max(0, Math.min(next, links.length - 1))]?.focus();
  }
});
