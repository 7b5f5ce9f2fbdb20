"use strict";
(() => {
  const charts = JSON.parse(document.getElementById("charts").textContent);
  const touch = matchMedia("(pointer: coarse)").matches;
  const config = {
    displaylogo: false, responsive: true, scrollZoom: false, showTips: false, doubleClickDelay: 400,
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d", "toggleSpikelines"],
  };
  const drawn = new Set();

  const draw = (element) => {
    const name = element.dataset.chart;
    if (!charts[name] || drawn.has(name)) return;
    drawn.add(name);
    const { data, layout } = charts[name];
    const ticks = Math.max(3, Math.floor(element.clientWidth / 120));
    Object.keys(layout).filter((k) => k.startsWith("xaxis") && layout[k].nticks > ticks)
      .forEach((k) => { layout[k].nticks = ticks; });
    if (element.clientWidth < 560) data.forEach((trace) => { delete trace.texttemplate; });
    if (touch) layout.dragmode = false;
    Plotly.newPlot(element, data, layout, { ...config, displayModeBar: touch ? false : "hover" });
  };
  const within = (root) => root.querySelectorAll(".chart[data-chart]");
  const visible = (element) => element.getClientRects().length > 0;
  const refresh = (root) => within(root).forEach((e) => {
    if (!visible(e)) return;
    if (drawn.has(e.dataset.chart)) Plotly.Plots.resize(e); else draw(e);
  });

  const folds = () => [...document.querySelectorAll("details")];
  folds().forEach((fold) => fold.addEventListener("toggle", () => { if (fold.open) refresh(fold); }));

  const button = document.getElementById("unfold");
  button.addEventListener("click", () => {
    const open = button.dataset.state !== "open";
    folds().forEach((fold) => { fold.open = open || fold.hasAttribute("data-open"); });
    button.dataset.state = open ? "open" : "";
    button.textContent = open ? button.dataset.fold : button.dataset.unfold;
  });

  document.querySelectorAll(".key button").forEach((entry) => entry.addEventListener("click", () => {
    const chart = entry.closest("figure").querySelector(".chart");
    const on = entry.getAttribute("aria-pressed") !== "true";
    entry.setAttribute("aria-pressed", String(on));
    Plotly.restyle(chart, { visible: on }, JSON.parse(entry.dataset.traces));
  }));

  const reveal = () => {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    for (let e = target; e; e = e.parentElement) if (e.tagName === "DETAILS") e.open = true;
  };
  addEventListener("hashchange", reveal);

  let closed = null;
  const beforePrint = () => {
    if (closed) return;
    closed = folds().filter((fold) => !fold.open);
    closed.forEach((fold) => { fold.open = true; });
    within(document).forEach((e) => { draw(e); Plotly.relayout(e, { width: 640, autosize: false }); });
  };
  const afterPrint = () => {
    if (!closed) return;
    closed.forEach((fold) => { fold.open = false; });
    closed = null;
    within(document).forEach((e) => { Plotly.relayout(e, { width: null, autosize: true }); });
  };
  addEventListener("beforeprint", beforePrint);
  addEventListener("afterprint", afterPrint);
  matchMedia("print").addEventListener("change", (event) => (event.matches ? beforePrint() : afterPrint()));

  reveal();
  refresh(document);
})();
