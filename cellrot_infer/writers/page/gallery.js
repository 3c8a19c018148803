// Every cell as a tile. Only what is near the window is in the document, so that five
// thousand cells scroll and answer like fifty.
const TILE = { width: 104, caption: 46, gap: 10, heading: 54 }; // the least width
const MARGIN = 800; // pixels beyond the window that are ready before they are seen
const gallery = document.getElementById("gallery");
const thumbnails = JSON.parse(document.getElementById("thumbnails").textContent);
const chosen = new Set();
let order = []; // the cells shown
let groups = []; // {label, start, end} of order
let rows = []; // {top, height, group} or {top, height, start, end}
let placeOf = new Map(); // cell -> its place in order
let current = 0; // place in order
let anchor = 0; // where a range began
const drawn = new Map(); // row -> element

// Unknown cells first, then uncertain ones, then the least sure.
function doubt(cell) {
  if (isReviewed(cell)) return -1;
  const novelty = cells.novelty[cell];
  const rank = [0, 1, 2][cells.decision[cell]];
  return rank + (rank === 2 ? novelty / (1 + novelty) : 1 - cells.probability[cell]);
}

function regroup() {
  const at = order[current];
  const kept = cells.label.map((_, cell) => cell).filter(isShown);
  const doubts = new Map(kept.map((cell) => [cell, doubt(cell)]));
  kept.sort(
    (a, b) => labelOf(a) - labelOf(b) || doubts.get(b) - doubts.get(a) || a - b,
  );
  order = kept;
  placeOf = new Map(order.map((cell, place) => [cell, place]));
  current = Math.max(0, placeOf.get(at) ?? 0);
  anchor = current;
  for (const cell of chosen) if (!placeOf.has(cell)) chosen.delete(cell);
  groups = [];
  order.forEach((cell, place) => {
    if (groups.at(-1)?.label !== labelOf(cell)) {
      groups.push({ label: labelOf(cell), start: place, end: place });
    }
    groups.at(-1).end = place + 1;
  });
  layOut();
}

function isShown(cell) {
  const label = document.getElementById("filter-class").value;
  const state = document.getElementById("filter-state").value;
  const fits = { all: () => true, doubt: isInDoubt, reviewed: isReviewed, changed: isChanged };
  return (label === "" || labelOf(cell) === Number(label)) && fits[state](cell);
}

function layOut() {
  const width = gallery.clientWidth;
  const columns = Math.max(1, Math.floor((width + TILE.gap) / (TILE.width + TILE.gap)));
  const side = Math.floor((width + TILE.gap) / columns) - TILE.gap;
  gallery.style.setProperty("--tile", `${side}px`);
  rows = [];
  let top = 0;
  const add = (row, height) => {
    rows.push({ ...row, top, height });
    top += height;
  };
  for (const group of groups) {
    add({ group }, TILE.heading);
    for (let start = group.start; start < group.end; start += columns) {
      add({ start, end: Math.min(start + columns, group.end) }, side + TILE.caption);
    }
  }
  gallery.style.height = `${Math.max(top, 120)}px`;
  gallery.setAttribute("aria-rowcount", rows.length);
  gallery.classList.toggle("empty", order.length === 0);
  for (const element of drawn.values()) element.remove();
  drawn.clear();
  draw();
}

// The first row that ends below `y`.
function rowAt(y) {
  let [low, high] = [0, rows.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (rows[middle].top + rows[middle].height <= y) low = middle + 1;
    else high = middle;
  }
  return low;
}

function draw() {
  const offset = -gallery.getBoundingClientRect().top;
  const first = rowAt(offset - MARGIN);
  const last = rowAt(offset + innerHeight + MARGIN);
  for (const [index, element] of drawn) {
    if (index < first || index > last) {
      element.remove();
      drawn.delete(index);
    }
  }
  for (let index = first; index <= last && index < rows.length; index++) {
    if (!drawn.has(index)) drawn.set(index, makeRow(index));
  }
  repaint();
}

function makeRow(index) {
  const row = rows[index];
  const element = document.createElement("div");
  element.setAttribute("role", "row");
  element.setAttribute("aria-rowindex", index + 1);
  element.className = row.group ? "head" : "row";
  element.style.transform = `translateY(${row.top}px)`;
  if (row.group) element.append(makeHeading(row.group));
  else for (let place = row.start; place < row.end; place++) element.append(makeTile(place));
  gallery.append(element);
  return element;
}

function makeHeading({ label, start, end }) {
  const heading = text("div", "", "title");
  heading.setAttribute("role", "rowheader");
  heading.append(swatch(labels[label].colour), text("bdi", labels[label].shown));
  heading.append(text("span", end - start, "tally"));
  return heading;
}

function makeTile(place) {
  const cell = order[place];
  const tile = document.createElement("div");
  tile.className = "tile";
  tile.id = `cell-${cell}`;
  tile.dataset.cell = cell;
  tile.setAttribute("role", "gridcell");
  const image = document.createElement("img");
  image.alt = "";
  image.decoding = "async";
  if (thumbnails[cell]) image.src = thumbnails[cell];
  const caption = text("div", "", "caption");
  caption.append(text("span", "", "first"), text("span", "", "second"));
  tile.append(image, caption);
  return tile;
}

function repaint() {
  for (const tile of gallery.querySelectorAll(".tile")) paint(tile, Number(tile.dataset.cell));
  gallery.setAttribute("aria-activedescendant", order.length ? `cell-${order[current]}` : "");
}

// Writes to the document only where something changed: a key touches one or two tiles.
function paint(tile, cell) {
  const { first, second } = captionOf(cell);
  const isCurrent = placeOf.get(cell) === current;
  const look = [first, second, labelOf(cell), isCurrent, isReviewed(cell), chosen.has(cell)].join();
  if (tile.look === look) return;
  tile.look = look;
  const [firstLine, secondLine] = tile.lastChild.children;
  firstLine.textContent = first;
  secondLine.textContent = second;
  tile.style.setProperty("--colour", labels[labelOf(cell)].colour);
  tile.classList.toggle("current", isCurrent);
  tile.classList.toggle("doubt", isInDoubt(cell));
  tile.classList.toggle("reviewed", isReviewed(cell));
  tile.classList.toggle("changed", isChanged(cell));
  tile.setAttribute("aria-selected", chosen.has(cell));
  tile.setAttribute("aria-label", spoken(cell));
}

function captionOf(cell) {
  if (isChanged(cell)) {
    const was = `was ${labels[cells.label[cell]].shown}`;
    return { first: labels[labelOf(cell)].shown, second: was };
  }
  if (isReviewed(cell)) return { first: "confirmed", second: "" };
  const sure = sureness(cell);
  if (cells.decision[cell] === ACCEPTED) return { first: sure, second: runnerUp(cell) };
  if (cells.decision[cell] === 1) return { first: `${sure}, uncertain`, second: runnerUp(cell) };
  return { first: "unknown", second: `${sure} ${labels[labelOf(cell)].shown}` };
}

function sureness(cell) {
  const rounded = Math.round(100 * cells.probability[cell]);
  return rounded === 100 && cells.probability[cell] < 1 ? "> 99 %" : `${rounded} %`;
}

function runnerUp(cell) {
  if (cells.runner_up[cell] < 0) return "";
  const sure = Math.round(100 * cells.runner_up_probability[cell]);
  if (sure === 0) return "";
  return `${sure} % ${labels[cells.runner_up[cell]].shown}`;
}

function spoken(cell) {
  const { first, second } = captionOf(cell);
  const where = `cell ${cells.number[cell]} of ${frames[cells.frame[cell]].shown}`;
  return [labels[labelOf(cell)].shown, first, second, where].filter(Boolean).join(", ");
}

function text(tag, content, className = "") {
  const element = document.createElement(tag);
  element.textContent = content;
  if (className) element.className = className;
  return element;
}

function swatch(colour) {
  const element = text("span", "", "swatch");
  element.style.background = colour;
  return element;
}
