// Draws every signal of the page; without script the pictures and the table of the server stay.
const query = new URLSearchParams(location.search);
const figures = [...document.querySelectorAll("figure.chart[data-signal]")];
const charts = [];

// light-dark() is only resolved where it is used as a colour.
function resolved(name) {
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

function palette() {
  const names = ["--text", "--dim", "--line", "--series", "--band", "--drifting", "--mark"];
  return Object.fromEntries(names.map((name) => [name.slice(2), resolved(name)]));
}

function windowAddress(end, signal) {
  const to = new URLSearchParams({ stream: query.get("name"), end: String(end), signal });
  if (query.get("slice") && query.get("slice") !== "all") to.set("slice", query.get("slice"));
  return `/window?${to}`;
}

function marks(times, colours) {
  return (u) => {
    u.ctx.save();
    u.ctx.strokeStyle = colours.mark;
    u.ctx.lineWidth = 2;
    for (const time of times) {
      const x = Math.round(u.valToPos(time, "x", true));
      u.ctx.beginPath();
      u.ctx.moveTo(x, u.bbox.top);
      u.ctx.lineTo(x, u.bbox.top + u.bbox.height);
      u.ctx.stroke();
    }
    u.ctx.restore();
  };
}

function short(value) {
  return value === null || value === undefined ? "–" : Number(value.toPrecision(4)).toString();
}

function draw(figure, data) {
  const signal = figure.dataset.signal;
  const s = data.signals[signal];
  const holder = figure.querySelector(".plot");
  if (!s || !holder) return;
  const c = palette();
  const axis = { stroke: c.dim, grid: { stroke: c.line, width: 1 }, ticks: { show: false }, font: "12px system-ui" };
  const options = {
    width: Math.max(holder.clientWidth, 200),
    height: 170,
    tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), "Etc/UTC"),
    cursor: { y: false, drag: { setScale: false } },
    legend: { show: false },
    scales: { x: { time: true, min: data.start, max: data.end } },
    axes: [
      { ...axis, size: 28, space: 70, values: dates(data) },
      { ...axis, size: 54, values: (_, ticks) => ticks.map(short) },
    ],
    bands: [{ series: [2, 3], fill: c.band }],
    series: [
      {},
      { label: "value", stroke: c.series, width: 1.75, points: { show: false }, spanGaps: false },
      { label: "high", stroke: "transparent", width: 0, points: { show: false } },
      { label: "low", stroke: "transparent", width: 0, points: { show: false } },
      { label: "threshold", stroke: c.drifting, width: 1.25, dash: [6, 4], points: { show: false } },
      { label: "normal", stroke: c.dim, width: 1, dash: [2, 4], points: { show: false } },
      { label: "drifting", stroke: c.drifting, width: 0, paths: () => null, points: { show: true, size: 7, fill: c.drifting, width: 0 } },
    ],
    hooks: { draw: [marks(data.references, c)] },
  };
  const spark = holder.querySelector("svg");
  const said = spark ? spark.getAttribute("aria-label") : "";
  holder.replaceChildren();
  const columns = [data.window_end, s.value, s.high, s.low, s.threshold, s.normal, s.drifting];
  const plot = new uPlot(options, columns, holder);
  plot.root.setAttribute("role", "img");
  plot.root.setAttribute("aria-label", `${figure.dataset.title} over time. ${said}`);
  const tip = document.createElement("p");
  tip.className = "tip age";
  holder.append(tip);
  const at = () => plot.cursor.idx;
  plot.over.addEventListener("mousemove", () => {
    const i = at();
    if (i === null || i === undefined) return;
    const time = new Date(data.window_end[i] * 1000).toISOString().slice(5, 16).replace("T", " ");
    const excess = s.excess[i] === null ? "" : ` (${s.excess[i].toFixed(2)} ×)`;
    tip.textContent = `${time}: ${short(s.value[i])}, threshold ${short(s.threshold[i])}${excess}`;
  });
  plot.over.addEventListener("click", () => {
    if (at() !== null && at() !== undefined) location.assign(windowAddress(data.window_end[at()], signal));
  });
  charts.push({ plot, holder });
}

function dates(data) {
  const isLong = data.end - data.start > 2 * 86400;
  return (_, ticks) =>
    ticks.map((tick) => {
      const text = new Date(tick * 1000).toISOString();
      return isLong ? text.slice(5, 10) : text.slice(11, 16);
    });
}

async function main() {
  if (!figures.length || typeof uPlot === "undefined") return;
  const answer = await fetch(`/stream/points?${query}`);
  if (!answer.ok) return; // the server's own pictures stay
  const data = await answer.json();
  const drawAll = () => {
    for (const { plot } of charts.splice(0)) plot.destroy();
    for (const figure of figures) draw(figure, data);
  };
  drawAll();
  document.querySelector("ul.drawn").hidden = false;
  document.documentElement.addEventListener("themechange", drawAll);
  for (const query of ["(prefers-color-scheme: dark)", "print"]) {
    matchMedia(query).addEventListener("change", drawAll);
  }
  let waiting = 0;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => {
      for (const { plot, holder } of charts) plot.setSize({ width: Math.max(holder.clientWidth, 200), height: 170 });
    }, 150);
  });
}

main();
