// Replays all drawings that are in view; a click on one starts it again.

const byId = (id) => document.getElementById(id);
let playing = !matchMedia("(prefers-reduced-motion: reduce)").matches;
let before = performance.now();

const inView = new IntersectionObserver((changes) => {
  for (const { target, isIntersecting } of changes) target.sketch.visible = isIntersecting;
});

const sketches = JSON.parse(byId("data").textContent).map(({ strokes, word, label }) => {
  const card = document.createElement("button");
  const canvas = document.createElement("canvas");
  const how = document.createElement("span");
  card.type = "button";
  card.className = "sketch";
  card.title = "Draw it again";
  how.textContent = label;
  card.append(canvas, word, how);
  byId("sketches").append(card);
  const sketch = { sheet: new Sheet(canvas), visible: false };
  sketch.strokes = strokes.map((points) => ({ points, by: "ink" }));
  sketch.count = countPoints(sketch.strokes);
  sketch.shown = playing ? 0 : sketch.count;
  sketch.sheet.show(sketch.strokes, sketch.shown);
  card.sketch = sketch;
  card.addEventListener("click", () => { sketch.shown = 0; play(true); });
  inView.observe(card);
  return sketch;
});

function play(on) {
  playing = on;
  byId("play").textContent = on ? "Pause" : "Play";
}

function tick(now) {
  const points = ((now - before) / 1000) * byId("speed").valueAsNumber;
  before = now;
  for (const sketch of sketches) {
    if (playing && sketch.visible && sketch.shown < sketch.count) {
      sketch.shown += points;
      sketch.sheet.paint(Math.floor(sketch.shown));
    }
  }
  requestAnimationFrame(tick);
}

byId("play").addEventListener("click", () => {
  if (!playing && sketches.every(({ shown, count }) => shown >= count)) byId("again").click();
  else play(!playing);
});
byId("again").addEventListener("click", () => {
  for (const sketch of sketches) sketch.sheet.show(sketch.strokes, (sketch.shown = 0));
  play(true);
});
byId("speed").addEventListener("input", () => { byId("points").textContent = byId("speed").value; });
play(playing);
requestAnimationFrame(tick);
