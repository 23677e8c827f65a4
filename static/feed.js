// The page's live connection: a numbered snapshot, then numbered deltas, over and over again.
const SILENT_MS = 6000;
const RETRY_MS = [250, 500, 1000, 2000, 4000, 8000];

export class Feed {
  /** on: {message, state(name, facts)}; sections: names that this page shows. */
  constructor(sections, build, on) {
    this.sections = sections;
    this.build = build;
    this.on = on;
    this.seq = null;
    this.tries = 0;
    this.missed = false;
    this.socket = null;
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && this.missed) this.ask();
    });
  }

  connect() {
    clearTimeout(this.timer);
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const query = encodeURIComponent(this.sections.join(","));
    this.socket = new WebSocket(`${scheme}//${location.host}/live/board?sections=${query}`);
    this.socket.onmessage = (event) => this.receive(JSON.parse(event.data));
    this.socket.onclose = () => this.lost();
  }

  now() {
    this.tries = 0;
    this.connect();
  }

  ask() {
    this.missed = false;
    if (this.socket?.readyState === WebSocket.OPEN) this.socket.send('{"type":"snapshot"}');
  }

  receive(message) {
    this.tries = 0;
    clearTimeout(this.silence);
    this.silence = setTimeout(() => this.on.state("stale", { why: "this page has had no news for 6 s." }), SILENT_MS);
    if (message.type === "error") return this.on.state("error", { error: "The server cannot read its data." });
    if (message.build !== this.build) {
      return this.on.state("error", { error: "This page is older than the server." });
    }
    const wanted = message.type === "snapshot" || message.type === "beat" || message.seq === this.seq + 1;
    if (!wanted) return message.seq > this.seq ? this.ask() : undefined; // one was lost
    if (document.hidden && message.type !== "beat") {
      this.missed = true; // a hidden page does not draw
      this.seq = message.seq;
      return undefined;
    }
    if (message.type !== "beat") this.seq = message.seq;
    return this.on.message(message);
  }

  async lost() {
    clearTimeout(this.silence);
    const wait = RETRY_MS[Math.min(this.tries, RETRY_MS.length - 1)];
    this.tries += 1;
    this.on.state("disconnected", { again: performance.now() + wait, attempt: this.tries });
    if (this.tries > 2 && (await signedOut())) return location.reload();
    this.timer = setTimeout(() => this.connect(), wait);
  }
}

async function signedOut() {
  try {
    const answer = await fetch(location.href, { redirect: "manual" });
    return answer.type === "opaqueredirect"; // on its way to the sign-in page
  } catch {
    return false; // the server itself is away
  }
}
