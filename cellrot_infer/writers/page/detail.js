// The chosen cell large, its place in the frame, and the classes to choose from.
const detail = document.getElementById("detail");
const previews = JSON.parse(document.getElementById("previews").textContent);
const SVG = "http://www.w3.org/2000/svg";
let mappedFrame = -1;

function buildDetail() {
  const figure = text("figure", "", "portrait");
  figure.append(document.createElement("img"), text("figcaption", ""));
  const words = text("div", "", "words");
  words.append(text("p", "", "title"), text("p", "", "second"), text("p", "", "where"));
  detail.append(figure, words, buildPalette(), text("div", "", "map"));
}

function buildPalette() {
  const palette = text("div", "", "palette");
  palette.setAttribute("role", "group");
  palette.setAttribute("aria-label", "Name the class");
  palette.hidden = Boolean(signedOff);
  const accept = button("Confirm", "Enter", confirm);
  accept.className = "accept";
  palette.append(accept);
  labels.forEach((label, index) => {
    if (!label.offered) palette.append(classButton(label, index));
  });
  palette.append(otherClasses());
  return palette;
}

function button(label, key, action) {
  const element = document.createElement("button");
  element.type = "button";
  element.append(text("bdi", label));
  if (key) element.append(text("kbd", key));
  element.addEventListener("click", () => {
    action();
    gallery.focus({ preventScroll: true });
  });
  return element;
}

function classButton(label, index) {
  const element = button(label.shown, label.key, () => name(index));
  element.dataset.label = index;
  element.prepend(swatch(label.colour));
  return element;
}

// Classes that the model does not know but a reviewer may see.
function otherClasses() {
  const select = document.createElement("select");
  select.setAttribute("aria-label", "Another class");
  select.append(new Option("another class ...", ""));
  labels.forEach((label, index) => {
    const key = label.key ? ` (${label.key})` : "";
    if (label.offered) select.append(new Option(`${label.shown}${key}`, index));
  });
  select.addEventListener("change", () => {
    if (select.value !== "") name(Number(select.value));
    select.value = "";
    gallery.focus({ preventScroll: true });
  });
  return select;
}

function renderDetail() {
  const cell = order[current];
  detail.classList.toggle("empty", cell === undefined);
  if (cell === undefined) return;
  const image = detail.querySelector(".portrait img");
  if (thumbnails[cell]) image.src = thumbnails[cell];
  else image.removeAttribute("src");
  image.alt = spoken(cell);
  const several = chosen.size > 1 ? `${chosen.size} cells chosen` : "";
  const { first, second } = captionOf(cell);
  detail.querySelector("figcaption").textContent = several;
  const title = detail.querySelector(".title");
  title.replaceChildren(swatch(labels[labelOf(cell)].colour), text("bdi", labels[labelOf(cell)].shown));
  title.append(text("span", isChanged(cell) ? "corrected" : first, "sure"));
  detail.querySelector(".second").textContent = isReviewed(cell) ? second : guesses(cell);
  const frame = frames[cells.frame[cell]];
  const where = detail.querySelector(".where");
  where.replaceChildren(text("bdi", frame.shown), `, cell ${cells.number[cell]}, ${areaOf(cell)}`);
  for (const choice of detail.querySelectorAll("[data-label]")) {
    choice.setAttribute("aria-pressed", Number(choice.dataset.label) === labelOf(cell));
  }
  renderMap(cell);
}

function guesses(cell) {
  const second = runnerUp(cell) && `, then ${runnerUp(cell)}`;
  return `${sureness(cell)} ${labels[labelOf(cell)].shown}${second}`;
}

function areaOf(cell) {
  return `${Math.round(cells.area_um2[cell])} \u00b5m\u00b2`;
}

// The frame with its cells; the picture is there where the file had room for it.
function renderMap(cell) {
  const map = detail.querySelector(".map");
  if (cells.frame[cell] !== mappedFrame) {
    mappedFrame = cells.frame[cell];
    map.replaceChildren(drawMap(mappedFrame));
  }
  map.querySelector(".here")?.classList.remove("here");
  const here = map.querySelector(`[data-cell="${cell}"]`);
  here.classList.add("here");
  here.parentNode.append(here); // on top of its neighbours
}

function drawMap(frame) {
  const { width, height, shown } = frames[frame];
  const map = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
  map.setAttribute("aria-label", `Place of the cell in ${shown}`);
  map.append(svg("rect", { width, height, class: "field" }));
  if (previews[frame]) map.append(svg("image", { width, height, href: previews[frame], decoding: "async" }));
  cells.frame.forEach((other, cell) => {
    if (other === frame) map.append(drawOutline(cell, Math.max(width, height)));
  });
  map.addEventListener("click", (event) => {
    const cell = Number(event.target.dataset.cell ?? NaN);
    if (!placeOf.has(cell)) return;
    moveTo(placeOf.get(cell));
    gallery.focus({ preventScroll: true });
  });
  return map;
}

function drawOutline(cell, side) {
  const points = cells.outline[cell];
  let [x, y] = [0, 0];
  const corners = [];
  for (let k = 0; k < points.length; k += 2) {
    x += points[k];
    y += points[k + 1];
    corners.push(`${x},${y}`);
  }
  const shape = svg("polygon", { points: corners.join(" "), "data-cell": cell });
  shape.append(svg("title", {}));
  shape.firstChild.textContent = spoken(cell);
  return shape;
}

function svg(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}
