// Canvas drawing with the tokens' colors, read again when the theme changes.
let inks = {};
let probe = null;

export function ink(name) {
  if (!probe) {
    probe = document.createElement("span");
    probe.hidden = true;
    document.body.append(probe);
  }
  if (!inks[name]) {
    probe.style.color = `var(--${name})`;
    inks[name] = getComputedStyle(probe).color;
  }
  return inks[name];
}

export function forgetInks() {
  inks = {};
}

/** Return [context, width, height] in CSS pixels, cleared and sharp. */
export function fit(canvas) {
  const ratio = devicePixelRatio || 1;
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const g = canvas.getContext("2d");
  g.setTransform(ratio, 0, 0, ratio, 0, 0);
  g.clearRect(0, 0, width, height);
  return [g, width, height];
}

export function level(g, y, from, to, color, dash = []) {
  g.strokeStyle = color;
  g.lineWidth = 1;
  g.setLineDash(dash);
  g.beginPath();
  g.moveTo(from, Math.round(y) + 0.5);
  g.lineTo(to, Math.round(y) + 0.5);
  g.stroke();
  g.setLineDash([]);
}

const barInk = (value, least) => ink(value >= least ? "accent" : value > 0 ? "accent-dim" : "control");

/** Bars on a zero line; the dotted line is the user's minimum. Own scale, no axis. */
export function spark(canvas) {
  const values = canvas.dataset.spark ? canvas.dataset.spark.split(",").map(Number) : [];
  const least = Number(canvas.dataset.least) || 0;
  const [g, width, height] = fit(canvas);
  if (!width || !values.length) return;
  const top = Math.max(least * 1.5, 1, ...values);
  const low = Math.min(-top * 0.25, ...values);
  const y = (value) => 1 + ((height - 2) * (top - value)) / (top - low);
  const step = width / values.length;
  level(g, y(0), 0, width, ink("line-strong"));
  level(g, y(least), 0, width, ink("control"), [2, 3]);
  values.forEach((value, n) => {
    g.fillStyle = barInk(value, least);
    const from = y(Math.max(value, 0));
    g.fillRect(n * step, from, Math.max(1.5, step - 1.25), Math.max(1, y(Math.min(value, 0)) - from));
  });
}

export { barInk };
