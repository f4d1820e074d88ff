// SPDX-License-Identifier: GPL-2.0-only
// Coverage over programs, from the API; drawn anew while the page is told of progress.

const AGAIN_MS = 10_000;
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function curve(points) {
  const programs = [], coverage = [];
  let sum = 0;
  for (const point of points) {
    sum += point.programs;
    programs.push(sum);
    coverage.push(point.coverage);
  }
  return [programs, coverage];
}

function draw(figure, points) {
  const axis = { stroke: colour("--dim"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
  const size = () => ({ width: Math.min(figure.clientWidth, 900), height: 180 });
  const options = {
    ...size(),
    scales: { x: { time: false } },
    axes: [axis, { ...axis, size: 60 }],
    series: [{ label: "programs" }, { label: "coverage", stroke: colour("--link"), width: 1.5, points: { size: 4 } }],
  };
  const chart = new uPlot(options, curve(points), figure);
  window.addEventListener("resize", () => chart.setSize(size()));
  return chart;
}

function follow(figure) {
  let chart = null, asked = 0;
  const refresh = async () => {
    if (asked && Date.now() - asked < AGAIN_MS) return;
    asked = Date.now();
    const response = await fetch(figure.dataset.growth).catch(() => null);
    const { points } = response?.ok ? await response.json() : { points: [] };
    if (points.length < 2) return;
    figure.hidden = false;
    if (chart === null) chart = draw(figure, points);
    else chart.setData(curve(points));
  };
  document.body.addEventListener("progress", refresh);
  refresh();
}

for (const figure of document.querySelectorAll("[data-growth]")) follow(figure);
