// Everything is defined: wire it up and show it.
function fillFilter() {
  const filter = document.getElementById("filter-class");
  filter.append(new Option("all classes", ""));
  const used = new Set(cells.label);
  labels.forEach((label, index) => {
    if (!label.offered || used.has(index)) filter.append(new Option(label.shown, index));
  });
}

function on(id, event, action) {
  document.getElementById(id).addEventListener(event, action);
}

function show(label) {
  document.getElementById("filter-class").value = String(label);
  document.getElementById("filter-state").value = "all";
  refilter();
  gallery.focus({ preventScroll: true });
  document.getElementById("cells").scrollIntoView();
}

function refilter() {
  regroup();
  renderDetail();
}

function wire() {
  gallery.addEventListener("keydown", onKey);
  gallery.addEventListener("click", onClick);
  addEventListener("scroll", draw, { passive: true });
  let width = 0;
  new ResizeObserver(() => {
    if (width !== gallery.clientWidth) layOut(); // its height is the layout's own work
    width = gallery.clientWidth;
  }).observe(document.querySelector(".bench"));
  const follow = ([entry]) => document.body.classList.toggle("at-cells", entry.isIntersecting);
  new IntersectionObserver(follow, { rootMargin: "-30% 0px" }).observe(gallery);
  on("filter-class", "change", refilter);
  on("filter-state", "change", refilter);
  on("regroup", "click", refilter);
  on("undo", "click", () => goBack(undo, "Undone."));
  on("redo", "click", () => goBack(redo, "Redone."));
  on("points", "input", renderDifferential);
  on("reviewer", "input", store);
  on("save-corrections", "click", saveCorrections);
  on("signoff-form", "submit", signOff);
  on("help-open", "click", () => document.getElementById("help").showModal());
  on("help-close", "click", () => document.getElementById("help").close());
  for (const link of document.querySelectorAll("[data-show]")) {
    link.addEventListener("click", () => show(link.dataset.show));
  }
  // The same report in two windows: the last word counts in both.
  addEventListener("storage", (event) => {
    if (event.key !== STORE) return;
    restore();
    afterReview("Updated from another window.");
  });
}

function start() {
  restore();
  document.querySelector(".bench").hidden = false;
  const form = document.getElementById("signoff-form");
  form.hidden = false;
  if (signedOff) {
    document.getElementById("reviewer").readOnly = true;
    form.querySelector("[type=submit]").hidden = true;
    form.querySelector("h3").textContent = "This review is signed off";
  }
  document.body.classList.toggle("posed", report.posed);
  fillFilter();
  buildDetail();
  wire();
  regroup();
  renderDetail();
  renderProgress();
  renderDifferential();
}

start();
