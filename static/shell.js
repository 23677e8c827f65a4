// What every page does: keep its sections new, tell the time and the state, theme, keys, stop dialog.
import { $, $$, patch, place, put } from "./dom.js";
import { forgetInks, spark } from "./draw.js";
import { Feed } from "./feed.js";

const WORDS = {
  live: "Data live", empty: "Data live", loading: "Starting", stale: "Data stale",
  ended: "Tape ended", disconnected: "Disconnected", error: "Page error",
};
const TOAST_MS = 6000;
const RING = 157; // circumference of the round clock
const root = document.documentElement;
const clock = $("[data-clock]");
const market = { ms: 0, speed: 0, close: 0, at: 0 };
let retry = null;

// --- the board ------------------------------------------------------------------------------
const sections = new Map($$("[data-section]").map((node) => [node.dataset.section, node]));

function apply(message) {
  root.dataset.mode = message.mode;
  setClock(message.health);
  show(message.health.state, { why: message.health.why, since: message.health.since });
  if (!message.sections) return;
  requestAnimationFrame(() => {
    const changed = [];
    for (const [name, html] of Object.entries(message.sections)) {
      const node = sections.get(name);
      if (!node) continue;
      document.dispatchEvent(new CustomEvent("board:before", { detail: name }));
      patch(node, html);
      changed.push(name);
    }
    settle(changed);
  });
}

function settle(changed) {
  place();
  guard();
  document.dispatchEvent(new CustomEvent("board", { detail: changed }));
  draw();
  tick();
}

export function draw(all = false) {
  if (document.hidden) return;
  for (const canvas of $$("canvas[data-spark]")) {
    const what = `${canvas.dataset.spark}|${canvas.dataset.least}|${canvas.clientWidth}`;
    if (all || canvas.drawn !== what) {
      canvas.drawn = what;
      spark(canvas);
    }
  }
}

function show(state, facts = {}) {
  root.dataset.conn = state;
  put($("[data-conn-word]"), WORDS[state]);
  retry = state === "disconnected" ? facts : null;
  if (facts.why) put($("[data-why]"), facts.why.charAt(0).toUpperCase() + facts.why.slice(1));
  if (facts.error) put($("[data-error]"), facts.error);
  for (const node of facts.since ? $$("[data-since]") : []) put(node, facts.since);
}

// --- time -------------------------------------------------------------------------------------
const et = new Intl.DateTimeFormat("en-GB", {
  timeZone: "America/New_York", hour: "2-digit", minute: "2-digit", second: "2-digit",
});

function setClock({ market_ms, speed, close_ms }) {
  Object.assign(market, { ms: Number(market_ms), speed: Number(speed), close: Number(close_ms), at: performance.now() });
}

export const marketNow = () => market.ms + (performance.now() - market.at) * market.speed;

function tick() {
  const now = marketNow();
  const moving = ["live", "empty"].includes(root.dataset.conn);
  if (market.ms > 0 && (moving || clock.textContent === "–")) put(clock, `${et.format(now)} ET`);
  const word = $("[data-close-word]");
  if (market.close > 0) {
    const closes = et.format(market.close).slice(0, 5);
    put(word, now < market.close ? `open, closes ${closes} ET` : `closed at ${closes} ET`);
  }
  ring(now, moving);
  for (const node of $$("[data-elapsed]")) put(node, moving ? elapsed(now - Number(node.dataset.elapsed)) : node.textContent);
  if (retry?.again) {
    const left = Math.max(0, Math.ceil((retry.again - performance.now()) / 1000));
    put($("[data-retry]"), `Trying again in ${left} s (attempt ${retry.attempt}).`);
  }
}

function ring(now, moving) {
  const arc = $(".round .arc");
  if (!arc) return;
  const into = (now % 5000) / 1000;
  arc.setAttribute("stroke-dashoffset", String(moving ? RING * (1 - into / 5) : RING));
  put($("[data-left]"), moving ? String(Math.max(1, Math.ceil(5 - into))) : "–");
  arc.closest(".round").title = !moving
    ? "Held: no fresh data"
    : into < 0.75 ? "Waiting 0.75 s for late prints of the last bucket"
      : into < 1.8 ? "Deciding the last bucket" : "Decided; the next bucket is filling";
}

function elapsed(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  if (s < 3600) return `${Math.floor(s / 60)} min ${String(s % 60).padStart(2, "0")} s`;
  return `${Math.floor(s / 3600)} h ${String(Math.floor((s % 3600) / 60)).padStart(2, "0")} min`;
}

// --- theme --------------------------------------------------------------------------------------
function turnTheme() {
  const light = getComputedStyle(document.body).colorScheme === "light" || root.dataset.theme === "light"
    || (!root.dataset.theme && matchMedia("(prefers-color-scheme: light)").matches);
  root.dataset.theme = light ? "dark" : "light";
  try {
    localStorage.setItem("theme", root.dataset.theme);
  } catch {
    // storage is off: the choice holds for this page
  }
  forgetInks();
  draw(true);
  document.dispatchEvent(new CustomEvent("theme"));
}

// --- dialogs ------------------------------------------------------------------------------------
function open(dialog) {
  if (dialog && !dialog.open) dialog.showModal();
}

/** A button behind a word opens when the word is typed; a viewer's buttons stay shut. */
function guard() {
  for (const form of $$("#stop-form, .stop-page form")) {
    const may = !$(".reason input", form)?.disabled;
    for (const button of $$("button[name=level]", form)) {
      const step = button.closest("li"); // going on again stands in none, and needs no word
      const word = step && $("[data-guard]", step);
      button.disabled = !may || (word !== null && word.value.trim() !== word.dataset.guard);
    }
  }
}

document.addEventListener("input", (event) => {
  if (event.target.matches("[data-guard]")) guard();
});
document.addEventListener("click", (event) => {
  const on = (selector) => event.target.closest(selector);
  if (on("[data-stop]")) {
    event.preventDefault();
    open($("#stop"));
  } else if (on("[data-resume]")) {
    $("#resume [name=from_level]").value = on("[data-resume]").dataset.resume;
    open($("#resume"));
  } else if (on("[data-help]")) open($("#help"));
  else if (on("[data-close]")) on("dialog").close();
  else if (on(".theme")) turnTheme();
  else if (on("[data-copy]")) copy(on("[data-copy]"));
  else if (on("[data-reload]")) location.reload();
  else if (on("[data-try-now]")) feed.now();
  if (!on(".menu")) $(".menu")?.removeAttribute("open");
});
for (const dialog of $$("#stop, #resume")) {
  // Enter in a field must not press the first button: no key acts by itself.
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && event.target.matches("input")) event.preventDefault();
  });
}

/** Copy a shown secret; where the browser keeps its clipboard shut, select it instead. */
async function copy(button) {
  const field = document.getElementById(button.dataset.copy);
  field.select();
  try {
    await navigator.clipboard.writeText(field.value);
    put(button, "Copied");
  } catch {
    put(button, "Selected");
  }
}

// --- keys ---------------------------------------------------------------------------------------
addEventListener("keydown", (event) => {
  if (event.target.matches("input, select, textarea") || event.ctrlKey || event.metaKey || event.altKey) return;
  if ($("dialog[open]")) return;
  if (event.key === "K" && event.shiftKey) open($("#stop"));
  else if (event.key === "?") open($("#help"));
  else if (event.key === "t") turnTheme();
  else if (event.key === "/" && $("[data-find]")) {
    event.preventDefault();
    $("[data-find]").focus();
  } else if (/^[1-9]$/.test(event.key)) $$(".nav a")[event.key - 1]?.click();
});

// --- toasts -------------------------------------------------------------------------------------
for (const toast of $$(".toast")) {
  const leave = () => (toast.matches(":hover, :focus-within") ? setTimeout(leave, 1000) : toast.remove());
  setTimeout(leave, toast.classList.contains("error") ? 2 * TOAST_MS : TOAST_MS);
}

const feed = new Feed([...sections.keys()], root.dataset.build, { message: apply, state: show });
setClock({ market_ms: clock.dataset.market, speed: clock.dataset.speed, close_ms: clock.dataset.close });
settle([...sections.keys()]);
tick();
setInterval(tick, 250);
addEventListener("resize", () => draw());
feed.connect();
root.dataset.ready = "yes";
