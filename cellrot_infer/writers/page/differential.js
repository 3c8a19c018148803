// The count, kept up to date while cells are reviewed.
const percent = (share) => (100 * share).toFixed(1);
const range = ([low, high]) => `${percent(low)} to ${percent(high)}`;

function denominatorOf(counts) {
  return counts.reduce((sum, count, row) => sum + (isCounted(row) ? count : 0), 0);
}

function isCounted(row) {
  return row >= labels.length || labels[row].counted;
}

function renderDifferential() {
  const counts = countRows();
  const total = denominatorOf(counts);
  const rows = [...document.querySelectorAll("#differential tr[data-row]")];
  const highest = Math.max(...rows.map((row) => topOf(counts, total, row)));
  const scale = Math.max(0.1, Math.ceil(10 * highest) / 10);
  for (const row of rows) renderRow(row, counts, total, scale);
  say("scale", `${Math.round(100 * scale)} %`);
  say("denominator", total);
  const isEdited = steps.length > 0;
  document.getElementById("differential").classList.toggle("edited", isEdited);
  document.getElementById("edited-note").hidden = !isEdited;
  renderLineages(counts, total);
  renderRatios(counts);
  renderPrecision(counts, total);
}

function topOf(counts, total, row) {
  const index = Number(row.dataset.row);
  return isCounted(index) && counts[index] ? wilson(counts[index], total)[1] : 0;
}

function renderRow(row, counts, total, scale) {
  const index = Number(row.dataset.row);
  const count = counts[index];
  row.hidden = "offered" in row.dataset && count === 0;
  row.classList.toggle("none", count === 0);
  field(row, "count").textContent = count;
  if (!isCounted(index)) return;
  const share = total ? count / total : 0;
  const interval = wilson(count, total);
  field(row, "percent").textContent = percent(share);
  field(row, "interval").textContent = range(interval);
  field(row, "bar").setAttribute("width", (100 * share) / scale);
  const [low, high] = interval.map((end) => Math.min(100, (100 * end) / scale));
  const path = `M${low} 12H${high}`;
  for (const whisker of row.querySelectorAll(".whisker")) whisker.setAttribute("d", path);
}

function field(holder, name) {
  return holder.querySelector(`[data-field="${name}"]`);
}

function renderLineages(counts, total) {
  for (const item of document.querySelectorAll("[data-lineage]")) {
    const isOf = (label) => label.counted && label.lineage === item.dataset.lineage;
    const count = labels.reduce((sum, l, i) => sum + (isOf(l) ? counts[i] : 0), 0);
    item.hidden = count === 0;
    field(item, "count").textContent = count;
    field(item, "percent").textContent = `${percent(total ? count / total : 0)} %`;
    field(item, "interval").textContent = range(wilson(count, total));
  }
  const isNone = !document.querySelector("[data-lineage]:not([hidden])");
  document.getElementById("no-lineage").hidden = !isNone;
}

function renderRatios(counts) {
  const sum = (classes) => classes.reduce((all, label) => all + counts[label], 0);
  report.ratios.forEach((ratio, index) => {
    const item = document.querySelector(`[data-ratio="${index}"]`);
    const [above, below] = [sum(ratio.above), sum(ratio.below)];
    const [low, high] = wilson(above, above + below).map(odds);
    const value = above + below ? odds(above / (above + below)) : NaN;
    field(item, "value").textContent = ratioText(value);
    item.querySelector("small").hidden = above + below === 0;
    field(item, "interval").textContent = `${ratioText(low)} to ${ratioText(high)}`;
    field(item, "sides").textContent = `${above} : ${below}`;
  });
}

function ratioText(value) {
  if (Number.isNaN(value)) return "no cells";
  return value === Infinity ? "\u221e" : value.toFixed(2);
}

function renderPrecision(counts, total) {
  const points = Number(document.getElementById("points").value);
  if (!(points > 0 && points < 100)) return;
  const isAny = counts.some((count, row) => count > 0 && row < labels.length && isCounted(row));
  const asked = counts
    .map((count, row) => ({ row, more: furtherCells(count, total, points / 100) }))
    .filter(({ row }) => row < labels.length && isCounted(row) && counts[row] > 0);
  const worst = asked.reduce((a, b) => (b.more > a.more ? b : a), { row: -1, more: 0 });
  const enough = isAny ? "this count is enough." : "a class must first be found.";
  const answer =
    worst.more === 0
      ? enough
      : `about ${worst.more} more cells are needed (${labels[worst.row].shown}).`;
  say("further", answer);
}
