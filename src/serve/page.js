"use strict";

const SHOWN = 12; // classes of many
const sheet = document.getElementById("sheet");
const canvas = document.getElementById("canvas");
const given = document.getElementById("given");
const status_ = document.getElementById("status");
const answers = document.getElementById("answers");
const width = document.getElementById("width");
const context = canvas.getContext("2d");

let strokes = []; // each the pointer that draws it, a line width and its points
let stroke = null;
let picture = null; // a file in place of the drawing

function redraw() {
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.strokeStyle = "#000";
  context.lineCap = context.lineJoin = "round";
  for (const { size, points } of strokes) {
    context.lineWidth = size;
    context.beginPath();
    context.moveTo(...points[0]);
    for (const point of points.length > 1 ? points.slice(1) : points) context.lineTo(...point);
    context.stroke();
  }
}

function place(event) {
  const box = canvas.getBoundingClientRect();
  return [
    ((event.clientX - box.left) * canvas.width) / box.width,
    ((event.clientY - box.top) * canvas.height) / box.height,
  ];
}

canvas.addEventListener("pointerdown", (event) => {
  if (event.button || stroke) return; // a second finger, or the palm, draws nothing
  canvas.setPointerCapture(event.pointerId);
  stroke = { pointer: event.pointerId, size: Number(width.value), points: [place(event)] };
  strokes.push(stroke);
  redraw();
  ask();
});
canvas.addEventListener("pointermove", (event) => {
  if (stroke?.pointer !== event.pointerId) return;
  for (const each of event.getCoalescedEvents?.().length ? event.getCoalescedEvents() : [event]) stroke.points.push(place(each));
  redraw();
  ask();
});
for (const end of ["pointerup", "pointercancel", "lostpointercapture"]) {
  canvas.addEventListener(end, (event) => {
    if (stroke?.pointer === event.pointerId) stroke = null;
  });
}

document.getElementById("clear").addEventListener("click", () => {
  strokes = [];
  stroke = null;
  show(null);
});
document.getElementById("undo").addEventListener("click", () => {
  if (!picture) strokes.pop();
  show(null);
});
width.addEventListener("input", () => (document.getElementById("width-shown").value = width.value));

// A picture in place of the drawing; null for the drawing.
function show(file) {
  if (given.src) URL.revokeObjectURL(given.src);
  picture = file;
  given.hidden = !file;
  if (file) given.src = URL.createObjectURL(file);
  else given.removeAttribute("src");
  redraw();
  ask();
}

function take(files) {
  const file = [...files].find((each) => each.type.startsWith("image/")) ?? files[0];
  if (file) show(file);
}

for (const id of ["file", "camera"]) {
  document.getElementById(id).addEventListener("change", (event) => {
    take(event.target.files);
    event.target.value = "";
  });
}
document.addEventListener("paste", (event) => take(event.clipboardData.files));
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  sheet.classList.add("over");
});
document.addEventListener("dragleave", () => sheet.classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  sheet.classList.remove("over");
  take(event.dataTransfer.files);
});

// One request at a time: what has changed meanwhile is asked next, and only its newest state.
let asking = false;
let changed = false;

async function ask() {
  changed = true;
  if (asking) return;
  asking = true;
  while (changed) {
    changed = false;
    if (!picture && !strokes.length) {
      answers.replaceChildren();
      status_.textContent = "";
      continue;
    }
    try {
      if (picture?.size === 0) throw new Error("the file is empty");
      const body = picture ?? (await new Promise((resolve) => canvas.toBlob(resolve, "image/png")));
      const response = await fetch("look", { method: "POST", body });
      const found = await response.json();
      if (!Array.isArray(found)) throw new Error(found.error);
      if (picture || strokes.length) draw(found);
    } catch (error) {
      answers.replaceChildren(); // they are of another picture
      status_.textContent = `No answer: ${error.message}`;
    }
  }
  asking = false;
}

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "text") made.textContent = value;
    else made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

function percent(share) {
  return `${(100 * share).toFixed(1)} %`;
}

function bars({ classes, probabilities }) {
  const order = classes.map((_, code) => code).sort((a, b) => probabilities[b] - probabilities[a]);
  const shown = classes.length > SHOWN ? order.slice(0, SHOWN) : classes.map((_, code) => code);
  const table = element("table", { class: "bars" });
  for (const code of shown) {
    const bar = element("span", { class: "bar" });
    bar.style.width = `${100 * probabilities[code]}%`;
    const row = element("tr", code === order[0] ? { class: "best" } : {});
    row.append(
      element("th", { scope: "row", text: classes[code], title: classes[code] }),
      element("td", {}, bar),
      element("td", { text: percent(probabilities[code]) }),
    );
    table.append(row);
  }
  return table;
}

function card(found) {
  const made = element("article", {}, element("h2", { text: found.model }));
  if (found.error) made.append(element("p", { class: "refused", text: found.error }));
  if (found.probabilities) made.append(bars(found));
  if (found.seen) {
    made.append(
      element("h3", { text: `What it was shown (${found.picture})` }),
      element("img", { class: "seen", src: found.seen, alt: "The image that the network was shown" }),
    );
  }
  for (const { name, channels, size, tiles } of found.layers ?? []) {
    const more = channels > tiles.length ? `, the first ${tiles.length}` : "";
    made.append(element("h3", { text: `${name}: ${channels} channels of ${size.join("×")}${more}` }));
    const maps = element("div", { class: "maps", role: "img", "aria-label": `Feature maps of ${name}` });
    for (const source of tiles) maps.append(element("img", { src: source, alt: "" }));
    made.append(maps);
  }
  return made;
}

function draw(found) {
  answers.replaceChildren(...found.map(card));
  const said = found.map((one) => {
    if (one.error) return `${one.model}: ${one.error}`;
    const best = one.probabilities.indexOf(Math.max(...one.probabilities));
    const answer = `${one.classes[best]}, ${percent(one.probabilities[best])}`;
    return found.length > 1 ? `${one.model}: ${answer}` : answer;
  });
  status_.textContent = said.join("; ");
}

async function strip() {
  const examples = await (await fetch("examples")).json();
  const list = document.getElementById("examples");
  for (const { index, actual, wrong, image } of examples) {
    const label = `Test image ${index}, a ${actual}${wrong ? ", which the model gets wrong" : ""}`;
    const button = element("button", { type: "button", "aria-label": label }, element("img", { src: image, alt: "" }), actual);
    if (wrong) button.className = "wrong";
    button.addEventListener("click", async () => show(await blob(image)));
    list.append(element("li", {}, button));
  }
  document.getElementById("strip").hidden = !examples.length;
}

async function blob(source) {
  const bytes = Uint8Array.from(atob(source.split(",")[1]), (character) => character.charCodeAt(0));
  return new Blob([bytes], { type: "image/png" });
}

redraw();
strip();
