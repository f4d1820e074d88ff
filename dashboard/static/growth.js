// SPDX-License-Identifier: GPL-2.0-only
// Coverage over programs, from the API.

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function draw(figure, points) {
  const programs = [], coverage = [];
  let sum = 0;
  for (const point of points) {
    sum += point.programs;
    programs.push(sum);
    coverage.push(point.coverage);
  }
  const axis = { stroke: colour("--dim"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
  const size = () => ({ width: Math.min(figure.clientWidth, 900), height: 180 });
  const options = {
    ...size(),
    scales: { x: { time: false } },
    axes: [axis, { ...axis, size: 60 }],
    series: [{ label: "programs" }, { label: "coverage", stroke: colour("--link"), width: 1.5, points: { size: 4 } }],
  };
  const chart = new uPlot(options, [programs, coverage], figure);
  window.addEventListener("resize", () => chart.setSize(size()));
}

for (const figure of document.querySelectorAll("[data-growth]")) {
  const response = await fetch(figure.dataset.growth);
  const { points } = response.ok ? await response.json() : { points: [] };
  if (points.length > 1) {
    figure.hidden = false;
    draw(figure, points);
  }
}
