// The desk: a picture to draw on, bars that show what the network reads, and the buttons of a dream.
const SIZE = 28, BRUSH = 1.9;
const find = (name) => document.getElementById(`play-${name}`);
const held = JSON.parse(find("network").textContent);
const canvas = find("canvas"), context = canvas.getContext("2d"), form = find("form"), cursor = find("cursor");
const shares = [...document.querySelectorAll("#play .play-share")], bars = [...document.querySelectorAll("#play .play-bar i")];
let pixels = new Float32Array(SIZE * SIZE), id = 0, dreaming = null, isBusy = false, isWaiting = false, isDreamed = false, news = "";

const fault = (text) => { find("fault").textContent = text; find("fault").hidden = false; find("desk").hidden = true; };
let timer = null;
// For screen readers, once it has been quiet for a while: who draws would hear a reading for each point.
const say = (text) => { clearTimeout(timer); timer = setTimeout(() => { find("said").textContent = text; }, 500); };

function startWorker() {
  const address = URL.createObjectURL(new Blob([find("dream").textContent], { type: "text/javascript" }));
  const worker = new Worker(address);
  worker.onerror = (event) => fault(`The arithmetic of this part does not run here: ${event.message || "no worker can be started"}.`);
  worker.onmessage = ({ data }) => heard(data);
  const bytes = Uint8Array.from(atob(held.weights), (letter) => letter.charCodeAt(0));
  const weights = new Float32Array(bytes.buffer);
  worker.postMessage({ kind: "load", layers: held.layers, weights }, [weights.buffer]);
  return worker;
}

function draw() {
  const image = context.createImageData(SIZE, SIZE);
  pixels.forEach((grey, i) => image.data.set([255 * grey, 255 * grey, 255 * grey, 255], 4 * i));
  context.putImageData(image, 0, 0);
}

function showShares(values) {
  const best = values.indexOf(Math.max(...values));
  values.forEach((share, digit) => {
    bars[digit].style.setProperty("--share", `${100 * share}%`);
    bars[digit].parentElement.classList.toggle("play-best", digit === best);
    shares[digit].textContent = `${Math.round(100 * share)} %`;
  });
  return `${values[best] < 0.5 ? `perhaps ${named(best)}` : named(best)}, at ${Math.round(100 * values[best])} %`;
}

const named = (digit) => held.names[digit];

// What the worker says of a picture that is no longer there is not shown, but a drawing's reading always is.
function heard({ kind, pixels: given, shares: values, step, id: of }) {
  if (kind === "read") isBusy = false;
  if (of === id) {
    if (kind !== "read") { pixels = given; draw(); }
    const verdict = showShares(values);
    find("verdict").textContent = verdict;
    if (dreaming) {
      find("progress").value = step / dreaming.steps;
      find("step").textContent = `step ${step} of ${dreaming.steps}`;
    }
    if (kind === "read") { say(`${news}The network reads: ${verdict}.`); news = ""; }
    if (kind === "end") { say(`The dream of ${named(dreaming.target)} has ended. The network reads: ${verdict}.`); ended(); }
  }
  if (kind === "read" && isWaiting) read();
}

// Ask what the network reads; while it is asked already, once more when it has replied.
function read() {
  if (dreaming) ended();
  isWaiting = isBusy;
  if (isBusy) return;
  isBusy = true;
  worker.postMessage({ kind: "read", pixels, id: ++id });
}

function ended() {
  dreaming = null;
  isDreamed = true;
  find("start").textContent = "Dream";
  form.elements.start.value = "picture";
}

function dream() {
  const settings = { ...held.settings };
  for (const name of ["steps", "l2_weight", "pose", "feature_weight"]) settings[name] = Number(find(name).value);
  const target = Number(form.elements.target.value), seed = seedNow();
  dreaming = { target, steps: settings.steps };
  isWaiting = false;
  find("start").textContent = "Stop";
  find("step").textContent = "";
  find("progress").value = 0;
  say(`Dreaming ${named(target)} from ${isFromNoise() ? `the noise of seed ${seed}` : "the picture"}.`);
  worker.postMessage({ kind: "dream", target, seed, settings, pixels: isFromNoise() ? null : pixels, id: ++id });
}

// The field then shows the seed that is used, whatever was typed.
function seedNow() {
  const seed = Math.min(2147483647, Math.max(0, Math.floor(Number(find("seed").value)) || 0));
  find("seed").value = seed;
  return seed;
}

// A brush that is full within a pixel of the line and fades out over the next.
function stroke([fromX, fromY], [toX, toY]) {
  const dots = 1 + Math.ceil(4 * Math.hypot(toX - fromX, toY - fromY));
  for (let dot = 0; dot <= dots; dot++) {
    const x = fromX + (toX - fromX) * dot / dots, y = fromY + (toY - fromY) * dot / dots;
    for (let row = Math.max(0, Math.floor(y - 2)); row <= Math.min(SIZE - 1, Math.ceil(y + 2)); row++)
      for (let column = Math.max(0, Math.floor(x - 2)); column <= Math.min(SIZE - 1, Math.ceil(x + 2)); column++) {
        const grey = Math.min(1, Math.max(0, BRUSH - Math.hypot(column - x, row - y)));
        pixels[row * SIZE + column] = Math.max(pixels[row * SIZE + column], grey);
      }
  }
  form.elements.start.value = "picture";
  draw();
  read();
  isDreamed = false;
}

function placeOf(event) {
  const { left, top, width, height } = canvas.getBoundingClientRect();
  return [(event.clientX - left) / width * SIZE - 0.5, (event.clientY - top) / height * SIZE - 0.5];
}

let last = null;
canvas.addEventListener("pointerdown", (event) => {
  if (event.button || !event.isPrimary) return; // a second finger draws nothing
  canvas.setPointerCapture(event.pointerId);
  last = placeOf(event);
  stroke(last, last);
});
canvas.addEventListener("pointermove", (event) => {
  if (!last || !event.isPrimary) return;
  for (const part of event.getCoalescedEvents?.().length ? event.getCoalescedEvents() : [event]) {
    const place = placeOf(part);
    stroke(last, place);
    last = place;
  }
});
for (const name of ["pointerup", "pointercancel"])
  canvas.addEventListener(name, ({ isPrimary }) => { if (isPrimary) last = null; });

const pen = { x: 14, y: 6, isDown: false };
function showPen() {
  cursor.style.left = `${100 * (pen.x + 0.5) / SIZE}%`;
  cursor.style.top = `${100 * (pen.y + 0.5) / SIZE}%`;
  cursor.classList.toggle("play-down", pen.isDown);
}
canvas.addEventListener("focus", () => { cursor.hidden = !canvas.matches(":focus-visible"); showPen(); });
canvas.addEventListener("blur", () => { cursor.hidden = true; pen.isDown = false; });
canvas.addEventListener("keydown", (event) => {
  const [right, down] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
  if (event.key === " ") {
    pen.isDown = !pen.isDown;
    say(pen.isDown ? "pen down" : "pen up");
  } else if (!right && !down) return;
  event.preventDefault();
  cursor.hidden = false;
  const before = [pen.x, pen.y];
  pen.x = Math.min(SIZE - 1, Math.max(0, pen.x + right));
  pen.y = Math.min(SIZE - 1, Math.max(0, pen.y + down));
  if (pen.isDown) stroke(before, [pen.x, pen.y]);
  showPen();
});

// As MNIST was made: the longer side of what is drawn becomes 20 pixels, and its centre of mass the picture's.
function fit() {
  let mass = 0, x = 0, y = 0, left = SIZE, right = -1, top = SIZE, bottom = -1;
  pixels.forEach((grey, i) => {
    const column = i % SIZE, row = Math.floor(i / SIZE);
    mass += grey; x += grey * column; y += grey * row;
    if (grey < 0.2) return;
    left = Math.min(left, column); right = Math.max(right, column);
    top = Math.min(top, row); bottom = Math.max(bottom, row);
  });
  if (right < 0) return;
  const scale = Math.max(right - left + 1, bottom - top + 1) / 20, centre = (SIZE - 1) / 2, before = pixels;
  const at = (column, row) => (column >= 0 && row >= 0 && column < SIZE && row < SIZE ? before[row * SIZE + column] : 0);
  pixels = Float32Array.from(before, (_, i) => {
    const across = x / mass + (i % SIZE - centre) * scale, along = y / mass + (Math.floor(i / SIZE) - centre) * scale;
    const column = Math.floor(across), row = Math.floor(along), u = across - column, v = along - row;
    return (1 - v) * ((1 - u) * at(column, row) + u * at(column + 1, row))
      + v * ((1 - u) * at(column, row + 1) + u * at(column + 1, row + 1));
  });
}

function replace(change, start = "picture") {
  change();
  draw();
  read();
  form.elements.start.value = start;
  isDreamed = false;
}
find("clear").addEventListener("click", () => replace(() => pixels.fill(0)));
find("fit").addEventListener("click", () => replace(fit));
const isFromNoise = () => form.elements.start.value === "noise";
const showNoise = () => replace(() => { pixels = noise(seedNow()); }, "noise");
form.elements.start.forEach((choice) => choice.addEventListener("change", () => isFromNoise() && showNoise()));
// What is drawn stays. After a dream, another seed begins anew: so the same digit and seed give the same picture.
find("seed").addEventListener("change", () => { seedNow(); if (isFromNoise() || isDreamed) showNoise(); });
find("next").addEventListener("click", () => { find("seed").value = (seedNow() + 1) % 2147483648; showNoise(); });
form.addEventListener("submit", (event) => event.preventDefault());
// By a click alone: MLflow shows a page in a frame in which nothing is submitted.
find("start").addEventListener("click", () => {
  if (!dreaming) return dream();
  ended();
  news = "The dream was stopped. ";
  read();
});
for (const slider of form.querySelectorAll("input[type=range]")) {
  const show = () => { slider.nextElementSibling.textContent = slider.value; };
  slider.addEventListener("input", show);
  show();
}

// The worker's text holds `noise` as well; the page needs it to show where a dream begins.
const { noise } = new Function(`${find("dream").textContent}\nreturn { noise };`)();
let worker = null;
try {
  worker = startWorker();
  find("desk").hidden = false;
  showNoise();
} catch (error) {
  fault(`This part does not run here: ${error.message}.`);
}
