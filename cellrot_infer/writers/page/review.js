// What the reviewer said: a log of steps, from which everything else follows.
const report = JSON.parse(document.getElementById("data").textContent);
const signedOff = JSON.parse(document.getElementById("signoff").textContent);
const { cells, labels, frames } = report;
const UNCERTAIN = labels.length;
const UNKNOWN = labels.length + 1;
const ACCEPTED = 0; // of cells.decision; 1 is uncertain, 2 is unknown
const STORE = `cellrot.review.${report.sha256}`;

const given = new Int16Array(cells.label.length).fill(-1); // the reviewer's label
const givenAt = new Array(cells.label.length);
let steps = []; // {cells, labels, time}; each cell named once in a step
let undone = [];
let keepsProgress = !signedOff;

function replay() {
  given.fill(-1);
  for (const step of steps) {
    step.cells.forEach((cell, k) => {
      given[cell] = step.labels[k];
      givenAt[cell] = step.time;
    });
  }
}

const isReviewed = (cell) => given[cell] >= 0;
const labelOf = (cell) => (isReviewed(cell) ? given[cell] : cells.label[cell]);
const isInDoubt = (cell) => !isReviewed(cell) && cells.decision[cell] !== ACCEPTED;
const isChanged = (cell) => isReviewed(cell) && given[cell] !== cells.label[cell];

// The row of the differential that a cell counts in.
function rowOf(cell) {
  if (isReviewed(cell) || cells.decision[cell] === ACCEPTED) return labelOf(cell);
  return cells.decision[cell] === 1 ? UNCERTAIN : UNKNOWN;
}

function countRows() {
  const counts = new Array(labels.length + 2).fill(0);
  for (let cell = 0; cell < given.length; cell++) counts[rowOf(cell)]++;
  return counts;
}

function takeStep(chosen, newLabels) {
  const time = new Date().toISOString().replace(/\.\d+Z$/, "Z");
  steps.push({ cells: chosen, labels: newLabels, time });
  undone = [];
  replay();
  store();
}

function undo() {
  if (steps.length === 0) return [];
  undone.push(steps.pop());
  replay();
  store();
  return undone.at(-1).cells;
}

function redo() {
  if (undone.length === 0) return [];
  steps.push(undone.pop());
  replay();
  store();
  return steps.at(-1).cells;
}

function store() {
  if (!keepsProgress) return;
  const reviewer = document.getElementById("reviewer").value;
  try {
    localStorage.setItem(STORE, JSON.stringify({ version: 1, reviewer, steps }));
  } catch (error) {
    keepsProgress = false;
    const how = "save the corrections before you close this page";
    say("save-status", `This browser keeps no progress (${error.name}): ${how}.`);
    addEventListener("beforeunload", (event) => event.preventDefault());
  }
}

// Progress of another version, or of a file that was altered, is not taken over.
function isOurs(step) {
  const known = (index, all) => Number.isInteger(index) && index >= 0 && index < all;
  return (
    Array.isArray(step?.cells) &&
    Array.isArray(step.labels) &&
    step.cells.length === step.labels.length &&
    step.cells.every((cell) => known(cell, given.length)) &&
    step.labels.every((label) => known(label, labels.length))
  );
}

function restore() {
  let kept = signedOff;
  if (!kept) {
    try {
      kept = JSON.parse(localStorage.getItem(STORE));
    } catch {
      kept = null; // no progress to be had: `store` will say so if none can be kept
    }
  }
  if (kept?.version !== 1 || !Array.isArray(kept.steps) || !kept.steps.every(isOurs)) return;
  steps = kept.steps;
  document.getElementById("reviewer").value = kept.reviewer ?? "";
  replay();
}

function say(where, message) {
  document.getElementById(where).textContent = message;
}
