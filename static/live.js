// The table of candidates: order, selection, and the card that says why not.
import { $, $$, patch, place, put } from "./dom.js";

let sort = "accel";
let held = false;
let order = [];
let selected = null;
let shown = null;

const body = () => $("#cand-body");
const rows = () => $$("#cand-body > .row");

document.addEventListener("board:before", ({ detail }) => {
  if (detail === "candidates") order = rows().map((row) => row.dataset.key);
});
document.addEventListener("board", ({ detail }) => {
  if (!detail.includes("candidates")) return;
  arrange();
  choose(selected, { quiet: true });
});

/** Rows keep their places while the pointer is over them. */
function arrange() {
  const list = body();
  for (const button of $$("[data-sort]")) {
    button.setAttribute("aria-pressed", String(button.dataset.sort === sort));
  }
  const tag = $("[data-held]");
  if (tag) tag.hidden = !held;
  if (!list) return;
  const place = new Map(order.map((key, n) => [key, n]));
  const sorted = rows().sort((a, b) =>
    held
      ? (place.get(a.dataset.key) ?? 1e6) - (place.get(b.dataset.key) ?? 1e6)
      : Number(b.dataset[sort]) - Number(a.dataset[sort]),
  );
  sorted.forEach((row, n) => {
    if (list.children[n] !== row) list.insertBefore(row, list.children[n] ?? null);
    put($(".rank", row), String(n + 1));
  });
}

function choose(symbol, { quiet = false } = {}) {
  const all = rows();
  const row = all.find((one) => one.dataset.key === symbol)
    ?? all.find((one) => !$(".out.fired", one)) ?? all[0];
  if (!quiet) selected = symbol;
  for (const one of all) one.setAttribute("aria-selected", String(one === row));
  if (row && row.dataset.id !== shown) tell(row.dataset.id);
  if (!row && $("#decision")) {
    shown = null;
    $("#decision").hidden = true;
  }
}

/** Fetch the card of a decision; it never changes, so the newest request wins. */
async function tell(id) {
  shown = id;
  const card = $("#decision");
  if (!card) return;
  try {
    const answer = await fetch(`/why/${id}/`, { headers: { Accept: "text/html" } });
    if (!answer.ok || shown !== id) return;
    patch(card, await answer.text());
    card.hidden = false;
    place(card);
  } catch {
    shown = null; // the connection's own state says what is wrong
  }
}

function move(by) {
  const all = rows();
  const at = all.findIndex((row) => row.getAttribute("aria-selected") === "true");
  const row = all[Math.max(0, Math.min(all.length - 1, at + by))];
  if (row) {
    choose(row.dataset.key);
    row.scrollIntoView({ block: "nearest" });
  }
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-sort]");
  const row = event.target.closest("#cand-body > .row");
  if (button) {
    sort = button.dataset.sort;
    arrange();
  } else if (row && !event.target.closest("a")) choose(row.dataset.key);
});
document.addEventListener("pointerover", (event) => {
  const inside = event.pointerType === "mouse" && event.target.closest("#cand-body") !== null;
  if (inside !== held) {
    held = inside;
    order = rows().map((row) => row.dataset.key);
    arrange();
  }
});
addEventListener("keydown", (event) => {
  if (event.target.matches("input, select, textarea, dialog *") || event.ctrlKey || event.metaKey) return;
  if (event.key === "j" || event.key === "k") move(event.key === "j" ? 1 : -1);
  if (event.key === "Enter" && event.target === document.body) {
    $("#cand-body > [aria-selected=true] .sym")?.click();
  }
});
arrange();
choose(selected, { quiet: true });
