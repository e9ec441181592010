"use strict";
const specifications = JSON.parse(document.getElementById("charts").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");
const boxes = [...document.querySelectorAll("input[data-position]")];
const views = new Map();

function config() {
  const style = getComputedStyle(document.documentElement);
  const [text, muted, line] = ["--text", "--muted", "--line"].map((name) => style.getPropertyValue(name).trim());
  return {
    background: "transparent",
    font: getComputedStyle(document.body).fontFamily,
    view: { stroke: null },
    axis: {
      labelColor: muted, titleColor: muted, gridColor: line, domainColor: line, tickColor: line,
      labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal",
    },
    legend: { labelColor: text, labelFontSize: 12, symbolStrokeColor: muted },
  };
}

async function draw(id) {
  views.get(id)?.finalize();
  const { view } = await vegaEmbed(document.getElementById(id), specifications[id], {
    mode: "vega-lite",
    renderer: "svg",
    actions: false,
    ast: true, // expressions are interpreted: the page's security policy lets no text become code
    config: config(),
    tooltip: { theme: dark.matches ? "dark" : "light" },
  });
  views.set(id, view);
  await show(view);
}

function show(view) {
  const shown = boxes.filter((box) => box.checked).map((box) => box.value);
  return boxes.length ? view.signal("shown", shown).runAsync() : view.runAsync();
}

async function drawAll() {
  for (const id of Object.keys(specifications)) await draw(id);
}

function filter() {
  const shown = new Set(boxes.filter((box) => box.checked).map((box) => box.dataset.position));
  for (const element of document.querySelectorAll("[data-positions]")) {
    element.hidden = !element.dataset.positions.split(" ").some((position) => shown.has(position));
  }
  for (const view of views.values()) show(view);
}

function enlarge(button) {
  const dialog = document.createElement("dialog");
  const picture = button.firstElementChild.cloneNode();
  const factor = Math.max(1, Math.min(2, (0.96 * innerWidth) / picture.width));
  picture.width *= factor;
  picture.height *= factor;
  dialog.ariaLabel = picture.alt;
  dialog.append(picture);
  dialog.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}

for (const button of document.querySelectorAll(".enlarge")) button.addEventListener("click", () => enlarge(button));
for (const box of boxes) box.addEventListener("change", filter);
dark.addEventListener("change", drawAll);
drawAll();
