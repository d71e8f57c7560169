"use strict";
const $ = (id) => document.getElementById(id);
const sheet = JSON.parse($("sheet").textContent);
const size = sheet.levers.length;
const PAIRS = [["d", "a"], ["w", "s"], ["l", "j"], ["i", "k"], ["e", "q"], ["o", "u"], ["3", "1"], ["9", "7"]];
const ARROWS = { arrowright: "d", arrowleft: "a", arrowup: "w", arrowdown: "s" };
const WINDOW = 20000; // of the curve [ms]
const rest = sheet.low.map((low, k) => Math.min(Math.max(0, low), sheet.high[k]));

// ---------------------------------------------------------------- what the page holds down

const held = new Set();
const levers = [];
let chosen = 0;

function action() {
  const pad = gamepad();
  if (sheet.discrete) {
    let choice = chosen;
    for (let k = 0; k < Math.min(size, 9); k++) if (held.has(String(k + 1))) choice = k;
    if (size === 2 && held.has("a")) choice = 0;
    if (size === 2 && held.has("d")) choice = 1;
    const pressed = pad ? pad.buttons.findIndex((b) => b.pressed) : -1;
    if (pressed >= 0 && pressed < size) choice = pressed;
    return sheet.levers.map((_, k) => Number(k === choice));
  }
  return sheet.levers.map((_, k) => {
    const [up, down] = PAIRS[k] || ["", ""];
    let push = Number(held.has(up)) - Number(held.has(down));
    const axis = pad && k < pad.axes.length ? pad.axes[k] * (k % 2 ? -1 : 1) : 0;
    if (!push && Math.abs(axis) > 0.12) push = axis;
    if (push) return push > 0 ? rest[k] + push * (sheet.high[k] - rest[k]) : rest[k] - push * (sheet.low[k] - rest[k]);
    return Number(levers[k].value);
  });
}

function gamepad() {
  const pads = navigator.getGamepads ? navigator.getGamepads() : [];
  return Array.from(pads).find((p) => p && p.connected) || null;
}

// ---------------------------------------------------------------- the connection

let socket = null, drives = false, wait = 500, last = "", number = 0, measured = 0, latency = null;
const sent = new Map();

function connect() {
  const address = new URL("play", location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  address.search = location.search;
  socket = new WebSocket(address);
  socket.binaryType = "arraybuffer";
  socket.onopen = () => { wait = 500; last = ""; };
  socket.onmessage = (event) => {
    if (typeof event.data === "string") heard(JSON.parse(event.data));
    else drawing = drawing.then(() => shown(event.data)).catch((error) => say(String(error)));
  };
  socket.onclose = (event) => {
    role(false, "The connection is lost" + (event.reason ? ": " + event.reason : ".") + " Trying again …");
    setTimeout(connect, wait);
    wait = Math.min(2 * wait, 5000);
  };
}

function send(message) {
  if (socket && socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}

function heard(message) {
  if (message.kind === "role") {
    role(message.drives, message.drives ? "You drive." :
      `Another page drives; ${message.before === 1 ? "you are next" : message.before + " pages are before this one"}. You watch.`);
  } else if (message.kind === "refused") say(message.words);
}

function role(driving, words) {
  drives = driving;
  $("role").textContent = words;
  for (const one of document.querySelectorAll(".controls button, .controls input, .controls select")) one.disabled = !driving;
}

let refused = 0;
function say(words, lasting) {
  if (lasting && performance.now() - refused < 4000 && !words) return;
  if (!lasting) refused = performance.now();
  if ($("words").textContent !== words) $("words").textContent = words;
  $("words").hidden = !words;
}

setInterval(() => {
  if (!drives) return;
  const now = action(), text = now.join();
  if (!sheet.discrete) now.forEach((v, k) => { levers[k].out.textContent = v.toFixed(2); });
  if (text === last) return;
  last = text;
  number += 1;
  sent.set(number, performance.now());
  if (sent.size > 200) sent.delete(sent.keys().next().value);
  send({ kind: "act", action: now, id: number });
}, 16);

// ---------------------------------------------------------------- frames

let drawing = Promise.resolve(), now = null;
const times = [], curve = [];

async function shown(data) {
  const length = new DataView(data).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
  let place = 4 + length;
  for (const picture of head.pictures) {
    const bytes = new Uint8Array(data, place, picture.bytes);
    place += picture.bytes;
    draw($(picture.name), await createImageBitmap(new Blob([bytes], { type: picture.type })));
  }
  send({ kind: "got", frame: head.frame });
  const before = now;
  now = head;
  if (!before || before.decisions !== head.decisions) times.push(performance.now());
  if (drives && head.heard > measured && sent.has(head.heard)) {
    const took = performance.now() - sent.get(head.heard);
    latency = latency === null ? took : 0.7 * latency + 0.3 * took;
  }
  measured = head.heard;
  numbers(head, before);
}

function draw(canvas, bitmap) {
  if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
    canvas.width = bitmap.width;
    canvas.height = bitmap.height;
  }
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  bitmap.close();
}

function numbers(head, before) {
  while (times.length && times[0] < performance.now() - 2000) times.shift();
  $("clock").textContent = `${head.time.toFixed(1)} s, seed ${head.seed}` + (head.reward === null ? "" : `, return ${head.total.toFixed(1)}`);
  const moving = !head.paused && times.length > 1;
  $("rate").textContent = moving ? (1000 * (times.length - 1) / (times[times.length - 1] - times[0])).toFixed(1) : "–";
  $("rate-below").textContent = head.paused ? "it holds" : `frames per second; a step takes ${head.computing.toFixed(0)} ms`;
  $("latency").textContent = latency === null ? "–" : latency.toFixed(0) + " ms";
  if (head.distance !== null) {
    $("drift").textContent = head.distance.toFixed(3);
    $("drift-below").textContent = head.psnr === null ? "the pictures are equal" : `PSNR ${head.psnr.toFixed(1)} dB`;
  } else if (sheet.beside) {
    $("drift").textContent = "–";
    $("drift-below").textContent = head.over ? "the simulator's episode is over" : "the pictures do not compare";
  }
  $("real-panel").classList.toggle("over", head.over);
  if (head.uncertainty !== null) $("uncertainty").textContent = head.uncertainty.toPrecision(3);
  $("pause").textContent = head.paused ? "Go on" : "Pause";
  $("pause").setAttribute("aria-pressed", head.paused);
  if (!before || before.speed !== head.speed) { $("speed").value = Math.log2(head.speed); tempo(); }
  if (sheet.text_size && document.activeElement !== $("text") && (!before || before.text !== head.text)) $("text").value = head.text;
  const recording = Boolean(head.recording);
  $("record").setAttribute("aria-pressed", recording);
  $("record").textContent = recording ? "Stop" : "Record";
  $("recording").textContent = recording ? `${head.recording.name}: ${head.recording.frames} frames` : "";
  if (!before || before.saved.join() !== head.saved.join()) saved(head.saved);
  say(head.words, true);
  $("real-name").textContent = sheet.beside + (head.actual_total === null ? "" : `, return ${head.actual_total.toFixed(1)}`);
  if (sheet.beside) plot(head);
}

function saved(names) {
  $("saved").replaceChildren(...names.map((name) => {
    const item = document.createElement("li"), link = document.createElement("a");
    link.href = "recordings/" + name + location.search;
    link.textContent = name;
    item.append(link);
    return item;
  }));
}

function plot(head) {
  const at = performance.now();
  if (head.distance !== null && !head.paused) curve.push([at, head.distance]);
  while (curve.length && curve[0][0] < at - WINDOW) curve.shift();
  const canvas = $("curve"), scale = devicePixelRatio || 1, style = getComputedStyle(document.documentElement);
  const width = canvas.clientWidth, height = canvas.clientHeight;
  if (canvas.width !== Math.round(width * scale)) { canvas.width = Math.round(width * scale); canvas.height = Math.round(height * scale); }
  const pen = canvas.getContext("2d");
  pen.setTransform(scale, 0, 0, scale, 0, 0);
  pen.clearRect(0, 0, width, height);
  const top = Math.max(0.05, ...curve.map((c) => c[1])) * 1.1;
  const y = (v) => height - 4 - (height - 18) * v / top;
  pen.strokeStyle = style.getPropertyValue("--grid");
  pen.beginPath(); pen.moveTo(0, y(0)); pen.lineTo(width, y(0)); pen.moveTo(0, y(top / 1.1)); pen.lineTo(width, y(top / 1.1)); pen.stroke();
  pen.fillStyle = style.getPropertyValue("--quiet");
  pen.font = "11.5px sans-serif";
  pen.fillText((top / 1.1).toFixed(2), 2, y(top / 1.1) - 3);
  pen.strokeStyle = style.getPropertyValue("--model");
  pen.lineWidth = 2;
  pen.beginPath();
  curve.forEach(([t, v], k) => { const x = width * (1 - (at - t) / WINDOW); if (k) pen.lineTo(x, y(v)); else pen.moveTo(x, y(v)); });
  pen.stroke();
}

// ---------------------------------------------------------------- controls

function tempo() {
  const times = Math.min(sheet.fastest, Math.max(sheet.slowest, 2 ** Number($("speed").value)));
  $("speed-out").textContent = times.toFixed(times < 1 ? 2 : 1) + "×";
  return times;
}

function lever(name, k) {
  const label = document.createElement("label"), word = document.createElement("span");
  const input = document.createElement("input"), out = document.createElement("output");
  label.className = "lever";
  word.textContent = word.title = name;
  Object.assign(input, { type: "range", min: sheet.low[k], max: sheet.high[k], step: "any", value: rest[k] });
  const back = () => { if ($("spring").checked) input.value = rest[k]; };
  input.addEventListener("pointerup", back);
  input.addEventListener("pointercancel", back);
  input.addEventListener("keyup", back);
  out.textContent = rest[k].toFixed(2);
  label.append(word, input, out);
  input.out = out;
  levers.push(input);
  return label;
}

function choice(name, k) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = name;
  button.setAttribute("aria-pressed", k === chosen);
  button.onclick = () => {
    chosen = k;
    [...$("levers").querySelectorAll("button")].forEach((b, j) => b.setAttribute("aria-pressed", j === k));
  };
  return button;
}

function keys() {
  const key = (word) => `<kbd>${word}</kbd>`, parts = [];
  if (sheet.discrete) {
    parts.push(`${key("1")} to ${key(Math.min(size, 9))} choose while they are held`);
    if (size === 2) parts.push(`${key("←")} and ${key("→")} too`);
  } else {
    const arrows = [`${key("→")} ${key("←")}`, `${key("↑")} ${key("↓")}`];
    PAIRS.slice(0, size).forEach(([up, down], k) => {
      const name = document.createElement("i");
      name.textContent = sheet.levers[k];
      parts.push(`${key(up)} ${key(down)}${k < 2 ? " or " + arrows[k] : ""} ${name.outerHTML}`);
    });
  }
  parts.push(`${key("Space")} holds and goes on`, `${key(".")} one frame`, `${key("r")} the next episode`, "a gamepad's sticks or buttons, too");
  $("keys").innerHTML = parts.join("; ") + ".";
}

function press(event) {
  if (event.target.matches("input[type=text], input[type=number], select") || event.ctrlKey || event.metaKey || event.altKey) return;
  const name = event.key.toLowerCase();
  if (name in ARROWS && event.target.matches("input[type=range]")) return;
  if (name === " " && event.target.matches("button, input")) return;
  const known = ARROWS[name] || name;
  if (name in ARROWS || name === " ") event.preventDefault();
  held.add(known);
  if (event.repeat || !drives) return;
  if (name === " ") $("pause").click();
  if (name === ".") $("step").click();
  if (name === "r") $("reset").click();
}

function begin() {
  $("levers").append(...(sheet.discrete ? [Object.assign(document.createElement("div"), { className: "bar" })] : []));
  const place = $("levers").querySelector(".bar") || $("levers");
  place.append(...sheet.levers.map(sheet.discrete ? choice : lever));
  $("spring-box").hidden = sheet.discrete;
  $("data-box").hidden = !sheet.data;
  $("data").checked = sheet.data;
  $("tell").hidden = !sheet.text_size;
  $("text").value = sheet.text;
  $("real-panel").hidden = $("curve-panel").hidden = !sheet.beside;
  $("uncertainty-below").textContent = sheet.uncertain ? "as the model tells it" : "this model tells none";
  Object.assign($("speed"), { min: Math.log2(sheet.slowest), max: Math.log2(sheet.fastest), step: "any", value: 0 });
  keys();
  $("pause").onclick = () => send({ kind: "pause", on: !(now && now.paused) });
  $("step").onclick = () => send({ kind: "step" });
  $("reset").onclick = () => send({ kind: "reset", ...($("seed").value === "" ? {} : { seed: Number($("seed").value) }) });
  $("speed").oninput = () => send({ kind: "speed", times: tempo() });
  $("record").onclick = () => send(now && now.recording ? { kind: "stop" } : { kind: "record", film: $("film").value, data: $("data").checked });
  $("tell").onsubmit = (event) => { event.preventDefault(); send({ kind: "tell", text: $("text").value }); $("text").blur(); };
  for (const one of document.querySelectorAll(".controls :is(button, input[type=range], input[type=checkbox], select)")) {
    one.addEventListener("click", (event) => { if (event.detail) one.blur(); }); // the keys drive again
    one.addEventListener("change", () => { if (one.matches("select")) one.blur(); });
  }
  addEventListener("keydown", press);
  addEventListener("keyup", (event) => held.delete(ARROWS[event.key.toLowerCase()] || event.key.toLowerCase()));
  addEventListener("blur", () => held.clear());
  role(false, "Connecting …");
  connect();
}

begin();
