// Moving among the cells and choosing some of them, by key or by mouse.
function moveTo(place, { extend = false, keep = false } = {}) {
  if (order.length === 0) return;
  current = Math.min(Math.max(place, 0), order.length - 1);
  if (extend) {
    chosen.clear();
    const [from, to] = [Math.min(anchor, current), Math.max(anchor, current)];
    order.slice(from, to + 1).forEach((cell) => chosen.add(cell));
  } else {
    anchor = current;
    if (!keep) chosen.clear();
  }
  reveal();
  repaint();
  renderDetail();
}

function toggle(cell) {
  if (!chosen.delete(cell)) chosen.add(cell);
  repaint();
  renderDetail();
}

// The cells that a letter applies to.
function targets() {
  if (chosen.size) return order.filter((cell) => chosen.has(cell));
  return order.length ? [order[current]] : [];
}

function rowOfPlace(place) {
  return rows.findIndex((row) => row.start <= place && place < row.end);
}

// The place `steps` rows of tiles further, in the same column or the last one.
function vertically(step) {
  let index = rowOfPlace(current);
  const column = current - rows[index].start;
  do index += step;
  while (rows[index]?.group);
  const row = rows[index];
  return row ? Math.min(row.start + column, row.end - 1) : current;
}

// Scroll as far as needed for the current cell to be seen between the fixed bars.
function reveal() {
  const row = rows[rowOfPlace(current)];
  const top = gallery.getBoundingClientRect().top + row.top;
  const bar = document.querySelector(".toolbar").offsetHeight + 12;
  const sheet = getComputedStyle(detail).position === "fixed" ? detail.offsetHeight : 0;
  const bottom = innerHeight - sheet - 12;
  if (top < bar) scrollBy({ top: top - bar - TILE.heading });
  else if (top + row.height > bottom) scrollBy({ top: top + row.height - bottom });
  draw();
}

function review(newLabels, cellsChosen = targets()) {
  if (signedOff || cellsChosen.length === 0) return;
  takeStep(cellsChosen, newLabels(cellsChosen));
  const several = cellsChosen.length > 1;
  const what = several ? `${cellsChosen.length} cells` : "1 cell";
  const name = labels[labelOf(cellsChosen[0])].shown;
  chosen.clear();
  afterReview(`${what}: ${name}.`);
  if (!several) moveTo(current + 1);
}

const name = (label) => review((all) => all.map(() => label));
const confirm = () => review((all) => all.map(labelOf));

function afterReview(message) {
  renderDifferential();
  renderProgress();
  repaint();
  renderDetail();
  say("announce", `${message} ${document.getElementById("progress").textContent}`);
}

function goBack(change, word) {
  const touched = signedOff ? [] : change();
  if (touched.length === 0) return;
  const place = placeOf.get(touched[0]);
  chosen.clear();
  if (place !== undefined) moveTo(place);
  afterReview(word);
}

function renderProgress() {
  const inDoubt = cells.decision.filter((decision) => decision !== ACCEPTED).length;
  const left = cells.label.reduce((sum, _, cell) => sum + isInDoubt(cell), 0);
  const changed = cells.label.reduce((sum, _, cell) => sum + isChanged(cell), 0);
  const done = `${inDoubt - left} of ${inDoubt} in doubt reviewed`;
  say("progress", `${done}, ${changed} changed`);
  document.getElementById("undo").disabled = steps.length === 0 || Boolean(signedOff);
  document.getElementById("redo").disabled = undone.length === 0 || Boolean(signedOff);
}

const MOVES = {
  ArrowLeft: () => current - 1,
  ArrowRight: () => current + 1,
  ArrowUp: () => vertically(-1),
  ArrowDown: () => vertically(1),
  Home: () => 0,
  End: () => order.length - 1,
};

const ACTIONS = {
  " ": () => order.length && toggle(order[current]),
  Enter: confirm,
  Backspace: () => goBack(undo, "Undone."),
  Escape: () => moveTo(current),
  "?": () => document.getElementById("help").showModal(),
};

function onKey(event) {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (event.ctrlKey || event.metaKey) return onControlKey(event, key);
  if (event.altKey) return;
  const label = labels.findIndex((entry) => entry.key === key);
  if (key in MOVES) {
    if (order.length) moveTo(MOVES[key](), { extend: event.shiftKey });
  } else if (key in ACTIONS) ACTIONS[key]();
  else if (label >= 0) name(label);
  else return;
  event.preventDefault();
}

function onControlKey(event, key) {
  const actions = {
    z: () => (event.shiftKey ? goBack(redo, "Redone.") : goBack(undo, "Undone.")),
    y: () => goBack(redo, "Redone."),
    a: chooseGroup,
  };
  if (!(key in actions)) return;
  actions[key]();
  event.preventDefault();
}

function chooseGroup() {
  const group = groups.find(({ start, end }) => start <= current && current < end);
  if (!group) return;
  order.slice(group.start, group.end).forEach((cell) => chosen.add(cell));
  repaint();
  renderDetail();
}

function onClick(event) {
  const tile = event.target.closest(".tile");
  if (!tile) return;
  const cell = Number(tile.dataset.cell);
  const place = placeOf.get(cell);
  gallery.focus({ preventScroll: true });
  if (event.shiftKey) moveTo(place, { extend: true });
  else if (event.ctrlKey || event.metaKey) {
    moveTo(place, { keep: true });
    toggle(cell);
  } else moveTo(place);
}
