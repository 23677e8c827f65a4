// The parameters form: what changed, checked by the server while you type, search, groups.
import { $, $$, put } from "./dom.js";

const form = $("#set");
const CHECK_AFTER_MS = 200;
let timer = 0;
let asked = 0;

function onOff() {
  for (const word of $$(".onoff")) put(word, word.closest("label").querySelector("input").checked ? "On" : "Off");
}

async function check() {
  asked += 1;
  const mine = asked;
  const answer = await fetch(form.dataset.check, { method: "POST", body: new FormData(form) }).catch(() => null);
  if (answer?.ok && mine === asked) judge(await answer.json());
}

function judge(found) {
  const was = new Map(found.changed.map((one) => [one.name, one.was]));
  for (const row of $$(".param", form)) {
    const errors = found.errors[row.dataset.name] ?? [];
    const bad = errors.length > 0;
    row.classList.toggle("bad", bad);
    row.classList.toggle("changed", !bad && was.has(row.dataset.name));
    const tag = $(".was", row);
    tag.hidden = bad || !was.has(row.dataset.name);
    put(tag, `changed, was ${was.get(row.dataset.name) ?? ""}`);
    const said = $(".err", row);
    said.hidden = !bad;
    put(said, errors.join(". "));
    const field = $(".field", row);
    if (field && bad) {
      field.setAttribute("aria-invalid", "true");
      field.setAttribute("aria-errormessage", said.id);
    } else field?.removeAttribute("aria-invalid");
  }
  list(found);
}

function list(found) {
  const n = found.changed.length;
  const words = n ? `${n} change${n === 1 ? "" : "s"}, not saved` : "No changes";
  for (const node of $$("[data-count]")) put(node, words);
  $("[data-savebar]").hidden = n === 0;
  $("[data-discard]").hidden = n === 0;
  $("[data-live]").hidden = !found.live;
  $("[data-diff]").replaceChildren(...found.changed.map(({ name, was, is }) => {
    const row = document.createElement("li");
    const link = Object.assign(document.createElement("a"), { className: "mono clip", href: `#p-${name}`, textContent: name });
    const old = Object.assign(document.createElement("del"), { textContent: was });
    const now = Object.assign(document.createElement("ins"), { textContent: is });
    row.append(link, old, now);
    return row;
  }));
  const loose = (found.errors[""] ?? []).map((text) => Object.assign(document.createElement("p"), { className: "err", textContent: text }));
  const bad = Object.keys(found.errors).filter(Boolean).length;
  if (bad) {
    const text = `${bad} value${bad === 1 ? " does" : "s do"} not fit; nothing can be saved yet.`;
    loose.unshift(Object.assign(document.createElement("p"), { className: "err", textContent: text }));
  }
  $("[data-errors]").replaceChildren(...loose);
  $("[data-advice]").replaceChildren(...found.advice.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
}

const made = (tag, className, text) => Object.assign(document.createElement(tag), { className, textContent: text });

async function preview() {
  const out = $("[data-preview-out]");
  const body = new FormData(form);
  body.append("minutes", $("[data-minutes]").value);
  out.hidden = false;
  out.replaceChildren(made("p", "sm dim", "Deciding the stored rounds again \u2026"));
  const answer = await fetch(form.dataset.preview, { method: "POST", body }).catch(() => null);
  const found = answer && (answer.ok || answer.status === 422) ? await answer.json() : { refused: "No answer; try again." };
  if (found.refused) out.replaceChildren(made("p", "err", found.refused));
  else show(out, found);
}

function show(out, found) {
  const head = made("div", "posrow", "");
  head.append(made("b", "strong", found.headline), made("span", `tag ${found.tag}`, found.badge));
  const rows = made("ul", "diff", "");
  rows.append(...found.changes.map((one) => {
    const row = made("li", "", "");
    const name = made(one.url ? "a" : "span", "mono", `${one.symbol} ${one.at}`);
    if (one.url) name.href = one.url;
    const word = made(one.word.startsWith("would not") ? "del" : "ins", "", one.word);
    row.append(name, word, made("span", "sm dim clip", one.why));
    row.title = one.why;
    return row;
  }));
  out.replaceChildren(head, rows, made("p", "sm dim", found.note));
}

function filter(text) {
  const wanted = text.trim().toLowerCase();
  let any = false;
  for (const group of $$(".group", form)) {
    let shown = 0;
    for (const row of $$(".param", group)) {
      row.hidden = !(`${row.dataset.name.toLowerCase()} ${row.dataset.help}`.includes(wanted));
      shown += !row.hidden;
    }
    group.hidden = shown === 0 && !group.contains(document.activeElement);
    any ||= shown > 0;
  }
  $("[data-nothing]").hidden = any;
}

form.addEventListener("input", (event) => {
  onOff();
  if (event.target.name === "reason" || event.target.name === "live_word" || event.target.name === "expires_minutes" || event.target.matches("[data-minutes]") || event.target.matches("[data-filter]")) return;
  $("[data-preview-out]").hidden = true; // it was about another set
  clearTimeout(timer);
  timer = setTimeout(check, CHECK_AFTER_MS);
});
$("[data-preview-go]").addEventListener("click", preview);
$("[data-filter]").addEventListener("input", (event) => filter(event.target.value));
$("[data-filter]").addEventListener("keydown", (event) => {
  if (event.key === "Enter") event.preventDefault();
});
// Enter in a field checks; saving is the button's.
form.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && event.target.matches(".param input")) {
    event.preventDefault();
    check();
  }
});
const watch = new IntersectionObserver((entries) => {
  for (const entry of entries) {
    if (!entry.isIntersecting) continue;
    for (const link of $$(".side a")) {
      if (link.hash === `#${entry.target.id}`) link.setAttribute("aria-current", "true");
      else link.removeAttribute("aria-current");
    }
  }
}, { rootMargin: "-80px 0px -70% 0px" });
for (const group of $$(".group", form)) watch.observe(group);
onOff();
