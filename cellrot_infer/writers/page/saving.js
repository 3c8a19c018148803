// What leaves the page: the corrections as CSV, and a signed-off copy of the page.
const CORRECTION_COLUMNS = [
  "frame", "cell", "before", "label", "reviewer", "time", "report_sha256",
  "frame_sha256", "x_px", "y_px", "width_px", "height_px", "pixel_size_um",
];

// On one line, and quoted where a spreadsheet would run it: `plain` of writers/csv.py.
function plain(value) {
  const line = visible(value);
  return /^ *[=+\-@\uff1d\uff0b\uff0d\uff20]/.test(line) ? `'${line}` : line;
}

function csvCell(value) {
  const written = typeof value === "string" ? plain(value) : String(value);
  return /[",\r\n]/.test(written) ? `"${written.replaceAll('"', '""')}"` : written;
}

function correctionsCsv(reviewer) {
  const reviewed = cells.label.map((_, cell) => cell).filter(isReviewed);
  const lines = reviewed.map((cell) => {
    const frame = frames[cells.frame[cell]];
    return [
      frame.name, cells.number[cell], labels[cells.label[cell]].name,
      labels[given[cell]].name, reviewer, givenAt[cell], report.sha256, frame.sha256,
      cells.x_px[cell], cells.y_px[cell], cells.width_px[cell], cells.height_px[cell],
      frame.pixel_size_um,
    ];
  });
  const table = [CORRECTION_COLUMNS, ...lines];
  return table.map((line) => line.map(csvCell).join(",") + "\n").join("");
}

// Files are named after this one, which may have been renamed.
function stem() {
  const file = decodeURIComponent(location.pathname.split("/").at(-1));
  return file.replace(/(\.signed)?( \(\d+\))?\.html$/, "") || report.stem;
}

function download(name, type, content) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

function nameOfReviewer() {
  const field = document.getElementById("reviewer");
  field.value = field.value.trim();
  return field.reportValidity() ? field.value : "";
}

function saveCorrections() {
  const reviewer = nameOfReviewer();
  if (!reviewer) return;
  const name = `${stem()}.corrections.csv`;
  download(name, "text/csv", correctionsCsv(reviewer));
  say("save-status", `${name} holds ${given.filter((label) => label >= 0).length} reviewed cells.`);
}

async function signOff(event) {
  event.preventDefault();
  const reviewer = nameOfReviewer();
  if (!reviewer) return;
  const bytes = new TextEncoder().encode(correctionsCsv(reviewer));
  const record = {
    version: 1,
    reviewer,
    time: new Date().toISOString().replace(/\.\d+Z$/, "Z"),
    report_sha256: report.sha256,
    corrections_sha256: sha256(bytes),
    steps,
  };
  const name = `${stem()}.signed.html`;
  download(name, "text/html", signedCopy(record));
  say("save-status", `${name} is saved; the corrections can be saved from it too.`);
}

// This page as it was written, with the record of the review in it.
function signedCopy(record) {
  const page = document.documentElement.cloneNode(true);
  const find = (id) => page.querySelector(`#${id}`);
  for (const id of ["gallery", "detail", "filter-class", "announce", "save-status"]) {
    find(id).replaceChildren();
  }
  find("gallery").removeAttribute("style");
  find("gallery").removeAttribute("aria-activedescendant");
  page.querySelector(".bench").hidden = true;
  find("signoff-form").hidden = true;
  find("signed").hidden = false;
  find("signed").textContent = signatureOf(record);
  find("signoff").textContent = JSON.stringify(record).replaceAll("<", "\\u003c");
  return `<!doctype html>\n${page.outerHTML}\n`;
}

function signatureOf(record) {
  const reviewed = new Set(record.steps.flatMap((step) => step.cells)).size;
  return (
    `Signed off by ${visible(record.reviewer)} on ${record.time}: ${reviewed} cells reviewed. ` +
    `Report ${record.report_sha256}, corrections ${record.corrections_sha256} (SHA-256).`
  );
}

// As `shown` in writers/text.py: no character of a name may hide.
function visible(name) {
  const hidden = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;
  return name.replace(hidden, "\ufffd");
}
