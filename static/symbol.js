// The five-second chart: price with the user's limit drawn into it, accelerator, volume.
import { $, $$ } from "./dom.js";
import { barInk, fit, ink, level } from "./draw.js";

const canvas = $("#chart");
const R = 56;
const L = 2;
const NB = "\u202f";
let data = JSON.parse($("#bars")?.textContent ?? "{}");
const price = (v) => v.toLocaleString("en-US", {
  minimumFractionDigits: v < 1 ? 4 : 2, maximumFractionDigits: v < 1 ? 4 : 2,
});

function nice(span) {
  const raw = span / 5;
  const base = 10 ** Math.floor(Math.log10(raw));
  return base * [1, 2, 2.5, 5, 10].find((m) => base * m >= raw);
}

function draw() {
  if (!canvas) return;
  const [g, w, h] = fit(canvas);
  const bars = data.bars ?? [];
  const font = getComputedStyle(document.body).fontFamily;
  g.font = `11px ${font}`;
  g.textBaseline = "middle";
  if (bars.length < 2 || !w) {
    g.fillStyle = ink("text-2");
    g.fillText("The shards keep no buckets of this stock any more.", 16, 40);
    return;
  }
  const H1 = h * 0.58, H2 = h * 0.78, H3 = h - 22;
  const n = bars.length;
  const step = (w - R - L) / n;
  const X = (i) => L + (i + 0.5) * step;
  const limit = data.vwap && data.stretch ? data.vwap * (1 + data.stretch / 100) : null;
  let top = Math.max(...bars.map((b) => b.h));
  let low = Math.min(...bars.map((b) => b.l));
  const span0 = Math.max(top - low, top * 0.0005);
  for (const line of [data.vwap, limit]) {
    if (line && line > low - span0 && line < top + span0) [top, low] = [Math.max(top, line), Math.min(low, line)];
  }
  const pad = Math.max((top - low) * 0.08, top * 0.0002);
  top += pad; low -= pad;
  const Y = (v) => 26 + ((H1 - 26) * (top - v)) / (top - low);
  shade(g, bars, X, step, H3, w);
  const last = bars[n - 1].c;
  const unit = nice(top - low);
  for (let v = Math.ceil(low / unit) * unit; v < top; v += unit) {
    level(g, Y(v), L, w - R, ink("line"));
    if (Math.abs(Y(v) - Y(last)) > 14) {
      g.fillStyle = ink("text-3");
      g.fillText(price(v), w - R + 8, Y(v));
    }
  }
  candles(g, bars, X, Y, step);
  if (data.vwap && data.vwap > low && data.vwap < top) level(g, Y(data.vwap), L, w - R, ink("warn"), [5, 3]);
  if (limit && limit > low && limit < top) {
    level(g, Y(limit), L, w - R, ink("down"), [6, 4]);
    g.fillStyle = ink("down");
    g.fillText(`your limit: VWAP + ${data.stretch.toFixed(2)}${NB}%  ${price(limit)}`, L + 4, Y(limit) + 10);
  }
  level(g, Y(last), L, w - R, ink("text-2"), [2, 3]);
  g.fillStyle = ink("text");
  g.fillRect(w - R + 2, Y(last) - 9, R - 4, 18);
  g.fillStyle = ink("surface");
  g.font = `600 11px ${font}`;
  g.fillText(price(last), w - R + 8, Y(last) + 0.5);
  g.font = `11px ${font}`;
  accelerator(g, bars, X, step, H1 + 12, H2, w);
  volume(g, bars, X, step, H2 + 14, H3);
  level(g, H3, L, w - R, ink("line-strong"));
  g.fillStyle = ink("text-3");
  g.textAlign = "center";
  const every = Math.ceil(n / (w < 500 ? 3 : 5));
  for (let i = Math.floor(every / 2); i < n; i += every) g.fillText(bars[i].t, X(i), h - 9);
  g.textAlign = "left";
}

function shade(g, bars, X, step, bottom, w) {
  const at = bars.findIndex((b) => b.k === data.burst);
  if (at < 0) return;
  const flat = Math.min(at, data.flat || 0);
  g.fillStyle = ink("surface-2");
  g.fillRect(X(at - flat) - step / 2, 8, step * flat, bottom - 8);
  g.fillStyle = ink("accent-soft");
  g.fillRect(X(at) - step / 2, 8, step * (bars.length - at), bottom - 8);
  if (w < 500) return;
  g.textAlign = "center";
  g.fillStyle = ink("text-2");
  if (flat * step > 90) g.fillText(`quiet base ${flat * 5} s`, X(at - flat / 2), 18);
  g.fillStyle = ink("accent");
  g.fillText("burst", Math.min(X(at + (bars.length - at) / 2), w - R - 16), 18);
  g.textAlign = "left";
}

function candles(g, bars, X, Y, step) {
  bars.forEach((b, i) => {
    const up = b.c >= b.o;
    g.strokeStyle = ink(up ? "up" : "down");
    g.lineWidth = 1;
    const x = Math.round(X(i)) + 0.5;
    g.beginPath();
    g.moveTo(x, Y(b.h));
    g.lineTo(x, Y(b.l));
    g.stroke();
    const width = Math.max(2, step * 0.62);
    const from = Y(Math.max(b.o, b.c));
    const size = Math.max(1.2, Math.abs(Y(b.o) - Y(b.c)));
    g.fillStyle = ink(up ? "surface" : "down");
    g.fillRect(x - width / 2, from, width, size);
    if (up) g.strokeRect(x - width / 2, from, width, size);
  });
}

function accelerator(g, bars, X, step, from, to, w) {
  const xs = bars.map((b) => b.x ?? 0);
  const least = Number(data.least);
  const top = Math.max(least * 1.15, ...xs) * 1.08;
  const low = Math.min(-top * 0.2, ...xs) * 1.1;
  const Y = (v) => from + ((to - from) * (top - v)) / (top - low);
  level(g, Y(0), L, w - R, ink("line-strong"));
  level(g, Y(least), L, w - R, ink("control"), [2, 3]);
  xs.forEach((v, i) => {
    g.fillStyle = barInk(v, least);
    const at = Y(Math.max(0, v));
    g.fillRect(X(i) - step * 0.36, at, step * 0.72, Math.max(1, Y(Math.min(0, v)) - at));
  });
  g.fillStyle = ink("text-3");
  g.fillText(`${least} bps`, w - R + 8, Y(least));
  if (Math.abs(Y(0) - Y(least)) > 12) g.fillText("0", w - R + 8, Y(0));
  g.fillStyle = ink("text-2");
  g.fillText("Accelerator, bps", L + 4, from + 4);
}

function volume(g, bars, X, step, from, to) {
  const most = Math.max(1, ...bars.map((b) => b.v)) * 1.05;
  g.fillStyle = ink("control");
  g.globalAlpha = 0.75;
  bars.forEach((b, i) => {
    const size = ((to - from) * b.v) / most;
    g.fillRect(X(i) - step * 0.36, to - size, step * 0.72, size);
  });
  g.globalAlpha = 1;
  g.fillStyle = ink("text-2");
  g.fillText("Volume, shares per 5 s", L + 4, from + 2);
}

async function load(minutes) {
  const query = new URLSearchParams({ minutes });
  if (canvas.dataset.decision) query.set("decision", canvas.dataset.decision);
  const answer = await fetch(`${canvas.dataset.url}?${query}`);
  if (!answer.ok) return;
  data = await answer.json();
  draw();
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-minutes]");
  if (!button) return;
  for (const one of $$("[data-minutes]")) one.setAttribute("aria-pressed", String(one === button));
  load(button.dataset.minutes);
});
document.addEventListener("theme", draw);
addEventListener("resize", draw);
draw();
