// Small tools of the pages: find, write only what changed, and patch a section in place.
export const $ = (selector, from = document) => from.querySelector(selector);
export const $$ = (selector, from = document) => [...from.querySelectorAll(selector)];

export function put(node, text) {
  if (node && node.textContent !== text) node.textContent = text;
}

// Attributes that scripts own: the server's HTML neither sets nor removes them.
const OURS = new Set(["style", "aria-selected", "aria-pressed", "disabled", "open", "hidden", "width", "height"]);

/** Make `node`'s content what `html` says, keeping every node that stays. */
export function patch(node, html) {
  const template = document.createElement("template");
  // The server escapes every value, and the policy allows no inline script or style.
  template.innerHTML = html;
  children(node, template.content);
}

function children(from, to) {
  const keyed = new Map();
  for (const child of from.children) if (child.dataset?.key) keyed.set(child.dataset.key, child);
  let at = from.firstChild;
  for (const want of [...to.childNodes]) {
    const key = want.dataset?.key;
    const have = key ? keyed.get(key) : at;
    if (have && have.nodeName === want.nodeName && have.dataset?.key === key) {
      same(have, want);
      if (have !== at) from.insertBefore(have, at);
      at = have.nextSibling;
    } else {
      from.insertBefore(want, at);
    }
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

function same(have, want) {
  if (have.nodeType !== Node.ELEMENT_NODE) {
    if (have.data !== want.data) have.data = want.data;
    return;
  }
  for (const { name } of [...have.attributes]) {
    if (!want.hasAttribute(name) && !OURS.has(name)) have.removeAttribute(name);
  }
  for (const { name, value } of want.attributes) {
    if (have.getAttribute(name) !== value && !OURS.has(name)) have.setAttribute(name, value);
  }
  children(have, want);
}

/** Apply what the policy forbids in HTML: widths and places come as data. */
export function place(from = document) {
  for (const node of $$("[data-w]", from)) node.style.width = `${node.dataset.w}%`;
  for (const node of $$("[data-l]", from)) node.style.left = `${node.dataset.l}%`;
}
