// Keeps the status page new: one numbered snapshot, then numbered deltas of changed sections.
const SILENT_MS = 6000;
const RETRY_MS = [250, 500, 1000, 2000, 4000, 8000];
const WORDS = { live: "Page live", stale: "No news", disconnected: "Disconnected", loading: "Connecting" };

const root = document.documentElement;
const sections = new Map(
  [...document.querySelectorAll("[data-section]")].map((node) => [node.dataset.section, node]),
);
const word = document.getElementById("conn-word");
let seq = null;
let tries = 0;
let silence = 0;
let socket = null;

function show(state) {
  root.dataset.conn = state;
  word.textContent = WORDS[state];
}

function heard() {
  clearTimeout(silence);
  silence = setTimeout(() => show("stale"), SILENT_MS);
  show("live");
}

function apply(message) {
  seq = message.seq;
  root.dataset.mode = message.mode;
  requestAnimationFrame(() => {
    for (const [name, html] of Object.entries(message.sections)) {
      const node = sections.get(name);
      // The server escapes every value; the policy allows no inline script or style.
      if (node) node.innerHTML = html;
    }
  });
}

function receive(event) {
  const message = JSON.parse(event.data);
  if (message.type === "stale") return show("stale");
  heard();
  if (message.type === "snapshot" || (message.type === "delta" && message.seq === seq + 1)) {
    apply(message);
  } else if (message.seq > seq) {
    socket.send(JSON.stringify({ type: "snapshot" })); // one was lost
  }
}

async function signedOut() {
  try {
    const answer = await fetch(location.href, { method: "GET", redirect: "manual" });
    return answer.type === "opaqueredirect"; // on its way to the sign-in page
  } catch {
    return false; // the server itself is away
  }
}

function connect() {
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  socket = new WebSocket(`${scheme}//${location.host}/live/status`);
  socket.onopen = () => {
    tries = 0;
    heard();
  };
  socket.onmessage = receive;
  socket.onclose = async () => {
    clearTimeout(silence);
    show("disconnected");
    if (tries > 1 && (await signedOut())) return location.reload();
    setTimeout(connect, RETRY_MS[Math.min(tries++, RETRY_MS.length - 1)]);
  };
}

document.getElementById("theme").addEventListener("click", () => {
  const dark = getComputedStyle(root).colorScheme !== "light";
  root.dataset.theme = dark ? "light" : "dark";
  try {
    localStorage.setItem("theme", root.dataset.theme);
  } catch {
    // storage is off: the choice holds for this page
  }
});

connect();
