"use strict";

// The live page: asks the server for drawings and shows their points as they come; the messages are told in server.py.

const FRAMES = 9; // drawings of a morph, the slider's places
const SPACING = 2; // units between points of one's own strokes
const GLIDE_MS = 120; // in which the view does two thirds of its way

const byId = (id) => document.getElementById(id);
const sheet = new Sheet(byId("sheet"), SIDE);
const kept = { a: new Sheet(byId("kept-a")), b: new Sheet(byId("kept-b")) };
let socket = null; // open, or null
let running = null; // {id, word, frame} of what is under way
let requests = 0;
let frames = []; // drawings of the last morph
let penUp = true; // whether the next point begins a stroke
let hand = null; // one's own stroke, while the pen is down
let wait = 1; // seconds until the next try to connect

function say(text, bad = false) {
  byId("status").textContent = text;
  byId("status").classList.toggle("bad", bad);
}

// ---- sheet

let before = 0; // time of the frame before; 0 while nothing moves
function refresh() {
  if (!before) requestAnimationFrame(animate);
  before ||= performance.now();
}
const still = matchMedia("(prefers-reduced-motion: reduce)");
function animate(now) {
  const share = still.matches ? 1 : 1 - Math.exp((before - now) / GLIDE_MS);
  // While somebody draws, the paper lies still.
  const there = sheet.strokes.at(-1)?.by === "ink" || sheet.glide(Math.max(share, 0));
  sheet.paint();
  before = there ? 0 : Math.max(now, 1);
  if (!there) requestAnimationFrame(animate);
}

function setStrokes(strokes) {
  sheet.strokes = strokes;
  penUp = true;
  enable();
  refresh();
}

function enable() {
  const some = countPoints(sheet.strokes) > 1;
  const on = {
    draw: socket, stop: running, continue: socket && some && !running, clear: some, save: some,
    "keep-a": some, "keep-b": some, frame: frames.length,
    morph: socket && kept.a.strokes.length && kept.b.strokes.length,
  };
  for (const [id, value] of Object.entries(on)) byId(id).disabled = !value;
}

// ---- server

function connect() {
  const address = new URL("draw", location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  const next = new WebSocket(address);
  next.onmessage = ({ data }) => {
    const message = JSON.parse(data);
    if (message.type === "hello") return welcome(next, message);
    if (message.id === null || message.id === running?.id) answers[message.type](message);
  };
  next.onclose = async () => {
    const lost = socket !== null;
    socket = running = null;
    enable();
    say(`${lost ? "The connection is lost." : await whyRefused()} Trying again in ${wait} s ...`, true);
    setTimeout(connect, wait * 1000);
    wait = Math.min(wait * 2, 15);
  };
}

async function whyRefused() {
  try {
    const answer = await fetch("draw"); // says in words why the server takes nobody in
    return answer.status === 503 || answer.status === 403 ? await answer.text() : "The server does not answer.";
  } catch {
    return "The server cannot be reached.";
  }
}

function welcome(next, { words }) {
  socket = next;
  wait = 1;
  const chosen = byId("word").value;
  byId("word").replaceChildren(...words.map((word) => new Option(word, word, false, word === chosen)));
  say("Ready: pick a word and press Draw, or begin on the sheet.");
  enable();
}

const answers = {
  frame({ frame }) {
    running.frame = frame;
    frames[frame] = [];
    byId("frame").value = frame;
    setStrokes(frames[frame]);
  },
  point({ x, y, pen }) {
    const strokes = running.frame === undefined ? sheet.strokes : frames[running.frame];
    if (penUp) strokes.push({ points: [], by: "model" });
    strokes.at(-1).points.push([x, y]);
    penUp = pen !== 0;
    enable();
    refresh();
  },
  end({ how }) {
    const what = frames.length ? `${frames.length} drawings, see the slider` : `${countPoints(sheet.strokes)} points`;
    say(`${running.word}: ${how}, ${what}.`);
    finish();
  },
  error({ message }) {
    say(message, true);
    finish();
  },
};

function finish() {
  running = null;
  byId("sheet").setAttribute("aria-label", `drawing of ${countPoints(sheet.strokes)} points`);
  enable();
}

function ask(type, fields = {}) {
  const word = byId("word").value;
  running = { id: ++requests, word };
  const options = { word, temperature: byId("temperature").valueAsNumber, speed: byId("speed").valueAsNumber };
  socket.send(JSON.stringify({ type, id: running.id, ...options, ...fields }));
  say(`Drawing: ${word} ...`);
  enable();
}

// What the server is given: strokes of one point say nothing.
const pointsOf = (strokes) => strokes.map(({ points }) => points).filter((points) => points.length > 1);

// ---- buttons

function stop() {
  if (!running) return;
  socket.send(JSON.stringify({ type: "stop", id: running.id }));
  say(`${running.word}: stopped.`);
  finish();
}

function keep(name) {
  kept[name].show(structuredClone(sheet.strokes));
  kept[name].canvas.setAttribute("aria-label", `drawing ${name.toUpperCase()}: kept`);
  enable();
}

function save() {
  const { left, top, right, bottom } = boxAround(sheet.strokes, 1);
  const lines = pointsOf(sheet.strokes).map((points) => `<polyline points="${points.join(" ")}"/>`);
  const svg =
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="${left} ${top} ${right - left} ${bottom - top}">` +
    `<g fill="none" stroke="black" stroke-width="4" stroke-linecap="round" stroke-linejoin="round">` +
    `${lines.join("")}</g></svg>\n`;
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([svg], { type: "image/svg+xml" }));
  link.download = `${byId("word").value || "drawing"}.svg`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
}

function forgetMorph() {
  frames = [];
  byId("frame").value = 0;
}

const buttons = {
  draw() {
    forgetMorph();
    setStrokes([]);
    ask("draw");
  },
  stop,
  continue() {
    forgetMorph();
    penUp = true;
    ask("continue", { strokes: pointsOf(sheet.strokes) });
  },
  clear() {
    stop();
    forgetMorph();
    setStrokes([]);
    finish();
    say("The sheet is empty.");
  },
  save,
  "keep-a": () => keep("a"),
  "keep-b": () => keep("b"),
  morph() {
    forgetMorph();
    setStrokes([]);
    ask("morph", { first: pointsOf(kept.a.strokes), second: pointsOf(kept.b.strokes), frames: FRAMES });
  },
};

const keys = {};
for (const [id, act] of Object.entries(buttons)) {
  byId(id).addEventListener("click", act);
  keys[byId(id).getAttribute("aria-keyshortcuts")] = byId(id);
}
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.target.matches("select")) return;
  keys[event.key.toLowerCase()]?.click(); // does nothing where it is disabled
});

byId("frame").max = FRAMES - 1;
byId("frame").addEventListener("input", ({ target }) => {
  if (frames[target.value]) {
    sheet.strokes = frames[target.value];
    enable();
    refresh();
  }
});
for (const [id, unit] of [["temperature", ""], ["speed", " points/s"]]) {
  const show = () => { byId(`${id}-value`).textContent = byId(id).value + unit; };
  byId(id).addEventListener("input", show);
  show();
}

// ---- one's own strokes

byId("sheet").addEventListener("pointerdown", (event) => {
  if (hand || event.button !== 0) return;
  stop();
  hand = { points: [sheet.place(event.offsetX, event.offsetY)], by: "ink" };
  sheet.strokes.push(hand);
  byId("sheet").setPointerCapture(event.pointerId);
  refresh();
});
byId("sheet").addEventListener("pointermove", (event) => {
  if (!hand) return;
  const [x, y] = sheet.place(event.offsetX, event.offsetY);
  const [lastX, lastY] = hand.points.at(-1);
  if (Math.hypot(x - lastX, y - lastY) >= SPACING) hand.points.push([x, y]);
  refresh();
});
for (const type of ["pointerup", "pointercancel"]) {
  byId("sheet").addEventListener(type, () => {
    if (!hand) return;
    if (hand.points.length < 2) sheet.strokes.pop();
    hand = null;
    say("Press Continue mine, and the model resumes your drawing.");
    finish();
    refresh();
  });
}

connect();
