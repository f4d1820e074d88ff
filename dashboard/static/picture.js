// SPDX-License-Identifier: GPL-2.0-only
// The interleaving as a picture: OLD and NEW side by side, a lane per actor, time downward; and the state of both
// models at the chosen step. The server has computed all of it (fuzzer/tell/export/trace_json.py); this only draws.

const ROW = 19, LANE = 26, TURN = 30, HEAD = 62, GAP = 14;
const GROUPS = ["pending", "SPTE", "TLB", "guest PTE", "shadow page", "PML", "dirty bitmap", "write tracking", "memslot", "root", "host PTE", "memory"];

function make(name, attributes = {}, text) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

function svg(name, attributes = {}, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

// Where things stand: columns in pixels.
function geometry(trace, room) {
  const lanes = trace.actors.length * LANE;
  const narrow = room < 700;
  const mark = narrow ? 0 : 110;
  const label = narrow ? Math.max(96, Math.floor((room - TURN - GAP - 2 * lanes - 4) / 2)) : 190;
  const start = { old: TURN, new: TURN + lanes + label + GAP };
  return { start, label, width: start.new + lanes + label + mark, narrow, x: (side, actor) => start[side] + actor * LANE + LANE / 2,
           text: (side) => start[side] + lanes + 4, chars: Math.floor(label / (narrow ? 6.1 : 7)) };
}

const shortened = (text, most) => (text.length > most ? `${text.slice(0, most - 1)}…` : text);
const pointOf = (where) => where.replace(/^to /, "");
// The point by name, and where in the kernel's code it is.
const inWords = (cell) => (cell.place ? `${cell.where}: ${cell.place}` : cell.where);

function drawHead(trace, g) {
  const head = svg("svg", { class: "head", width: g.width, height: HEAD, "aria-hidden": "true" });
  for (const side of ["old", "new"]) {
    head.append(svg("text", { class: "model", x: g.text(side), y: HEAD - 8 }, side.toUpperCase()));
    trace.actors.forEach((name, actor) => {
      const x = g.x(side, actor) + 3, y = HEAD - 6;
      head.append(svg("text", { x, y, transform: `rotate(-60 ${x} ${y})` }, name));
    });
  }
  return head;
}

// Bars behind the dots: from the first to the last turn of an operation.
function drawOperations(trace, g, body) {
  const spans = new Map();
  trace.rows.forEach((row, index) => {
    if (!row.turn) return;
    const key = `${row.actor} ${row.operation}`;
    const span = spans.get(key) ?? { actor: trace.actors.indexOf(row.actor), from: index, to: index };
    span.to = index;
    spans.set(key, span);
  });
  for (const side of ["old", "new"]) {
    trace.actors.forEach((_, actor) => {
      const x = g.x(side, actor);
      body.append(svg("line", { class: "lane", x1: x, x2: x, y1: 0, y2: trace.rows.length * ROW }));
    });
    for (const { actor, from, to } of spans.values()) {
      const x = g.x(side, actor);
      body.append(svg("line", { class: "operation", x1: x, x2: x, y1: (from + 0.5) * ROW, y2: (to + 0.5) * ROW }));
    }
    const path = trace.rows.flatMap((row, index) =>
      row.turn ? [`${g.x(side, trace.actors.indexOf(row.actor))},${(index + 0.5) * ROW}`] : []);
    body.append(svg("polyline", { class: "path", points: path.join(" ") }));
  }
}

function drawCell(trace, g, group, row, index, side) {
  const cell = row[side], other = row[side === "old" ? "new" : "old"];
  const same = cell.where === other.where;
  const still = !/^(to |ends|runs)/.test(cell.where);
  const mid = (index + 0.5) * ROW;
  if (row.turn) {
    const kind = cell.broken.length ? "dot broken" : still ? "dot still" : "dot";
    group.append(svg("circle", { class: kind, cx: g.x(side, trace.actors.indexOf(row.actor)), cy: mid, r: 3.5 }));
  }
  const broken = cell.broken.map((text) => `!! ${text.split(":")[0]}`).join(" ");
  const label = broken || pointOf(cell.where);
  const kind = broken ? "broken" : same && side === "new" ? "faint" : "";
  group.append(svg("text", { class: kind, x: g.text(side), y: mid + 4 }, shortened(label, g.chars)));
}

// What is read over a row: who does what, and to which point both models came.
function titleOf(row) {
  const [old, now] = [inWords(row.old), inWords(row.new)];
  const points = old === now ? [old] : [`OLD ${old}`, `NEW ${now}`];
  return [`${row.actor} ${row.operation}`, ...points].join("\n");
}

function drawRow(trace, g, row, index) {
  const same = JSON.stringify(row.old) === JSON.stringify(row.new);
  const group = svg("g", { class: same ? "row" : "row differs" });
  group.append(svg("title", {}, titleOf(row)));
  group.append(svg("rect", { class: "band", x: 0, y: index * ROW, width: g.width, height: ROW }));
  group.append(svg("text", { class: "turn", x: TURN - 6, y: (index + 0.5) * ROW + 4, "text-anchor": "end" }, row.turn || "end"));
  for (const side of ["old", "new"]) drawCell(trace, g, group, row, index, side);
  return group;
}

function drawLanes(container, trace, choose) {
  const g = geometry(trace, container.parentElement.clientWidth - 2);
  const body = svg("svg", { width: g.width, height: trace.rows.length * ROW, role: "img",
    "aria-label": `${trace.rows.length} steps; the table below says the same in words` });
  const groups = trace.rows.map((row, index) => {
    const group = drawRow(trace, g, row, index);
    group.addEventListener("click", () => choose(index + 1));
    return group;
  });
  // Bands first, then lanes over them, then what stands on the lanes.
  body.append(...groups);
  const lines = svg("g", { "pointer-events": "none" });
  drawOperations(trace, g, lines);
  body.append(lines);
  for (const group of groups) {
    const marks = svg("g", { "pointer-events": "none" });
    marks.append(...group.querySelectorAll("circle"));
    body.append(marks);
  }
  if (trace.first_difference >= 0) {
    const y = trace.first_difference * ROW;
    body.append(svg("line", { class: "divergence", x1: 0, x2: g.width, y1: y, y2: y }));
    const text = { class: "divergence-text", x: g.width - 4, y: y + ROW - 6, "text-anchor": "end", "pointer-events": "none" };
    if (!g.narrow) body.append(svg("text", text, "first difference"));
  }
  container.replaceChildren(drawHead(trace, g), body);
  return groups;
}

// The state after each frame: for each thing its value in both models.
function statesOf(trace) {
  const now = { old: new Map(), new: new Map() };
  return trace.frames.map((frame) => {
    for (const side of ["old", "new"]) {
      now[side] = new Map(now[side]);
      for (const [group, name, value] of frame[side]) {
        const key = `${group}\n${name}`;
        if (value === "") now[side].delete(key);
        else now[side].set(key, value);
      }
    }
    return { old: now.old, new: now.new };
  });
}

// Things that move at some time, or differ: all others are scenery.
function telling(trace, states) {
  const keys = new Set();
  trace.frames.slice(1).forEach((frame) => {
    for (const side of ["old", "new"]) for (const [group, name] of frame[side]) keys.add(`${group}\n${name}`);
  });
  const last = states.at(-1);
  if (last) for (const key of last.old.keys()) if (last.old.get(key) !== last.new.get(key)) keys.add(key);
  return keys;
}

function rank(key) {
  const group = key.split("\n")[0];
  const at = GROUPS.findIndex((name) => group.startsWith(name));
  return at < 0 ? GROUPS.length : at;
}

function ordered(keys) {
  return [...keys].sort((a, b) => rank(a) - rank(b) || a.localeCompare(b, "en", { numeric: true }));
}

// One table for a step: what the turn did, then the state, OLD beside NEW.
function stepTable(row, state, frame, keys) {
  const table = make("table"), columns = make("colgroup"), head = make("thead"), headRow = make("tr"), body = make("tbody");
  columns.append(make("col"), make("col"), make("col"));
  headRow.append(make("td"), make("th", { scope: "col" }, "OLD"), make("th", { scope: "col" }, "NEW"));
  head.append(headRow);
  if (row) addTurn(body, row);
  if (frame) addState(body, state, frame, keys);
  table.append(columns, head, body);
  return table;
}

function addTurn(body, row) {
  const told = [
    ["goes", (cell) => [inWords(cell)]],
    ["does", (cell) => cell.seen.filter((text) => !text.includes(" -> "))],
    ["breaks", (cell) => cell.broken],
  ];
  for (const [name, textsOf] of told) {
    const cells = ["old", "new"].map((side) => textsOf(row[side]));
    if (!cells[0].length && !cells[1].length) continue;
    const line = make("tr");
    line.append(make("th", { scope: "row" }, name));
    for (const texts of cells) line.append(make("td", name === "breaks" ? { class: "bad" } : {}, texts.join("; ") || "–"));
    body.append(line);
  }
}

function addState(body, state, frame, keys) {
  const changed = { old: new Set(), new: new Set() };
  for (const side of ["old", "new"]) for (const [group, name] of frame[side]) changed[side].add(`${group}\n${name}`);
  let group = "";
  for (const key of keys) {
    if (!state.old.has(key) && !state.new.has(key) && !changed.old.has(key) && !changed.new.has(key)) continue;
    const [own, name] = key.split("\n");
    if (own !== group) {
      const title = make("tr", { class: "group" });
      title.append(make("th", { colspan: 3, scope: "rowgroup" }, (group = own)));
      body.append(title);
    }
    const differs = (state.old.get(key) ?? "") !== (state.new.get(key) ?? "");
    const row = make("tr", differs ? { class: "differs" } : {});
    row.append(make("th", { scope: "row" }, name));
    for (const side of ["old", "new"]) {
      row.append(make("td", changed[side].has(key) ? { class: "changed" } : {}, state[side].get(key) ?? "–"));
    }
    body.append(row);
  }
}

class Picture {
  constructor(root, trace) {
    this.root = root;
    this.trace = trace;
    this.states = statesOf(trace);
    this.telling = ordered(telling(trace, this.states));
    this.everything = false;
    this.lanes = root.querySelector(".lanes");
    this.slider = root.querySelector("input[type=range]");
    this.output = root.querySelector("output");
    this.slider.max = trace.rows.length;
    this.draw();
    this.listen();
    this.choose(Math.max(trace.first_difference + 1, 0));
  }

  draw() {
    this.rows = drawLanes(this.lanes, this.trace, (step) => this.choose(step));
  }

  listen() {
    this.slider.addEventListener("input", () => this.choose(Number(this.slider.value)));
    for (const button of this.root.querySelectorAll("[data-step]")) {
      button.addEventListener("click", () => this.choose(this.target(button.dataset.step)));
    }
    this.lanes.addEventListener("keydown", (event) => {
      const to = { ArrowUp: "previous", ArrowLeft: "previous", ArrowDown: "next", ArrowRight: "next", Home: "first", End: "last" };
      if (!(event.key in to)) return;
      event.preventDefault();
      this.choose(this.target(to[event.key]));
    });
    let width = this.lanes.parentElement.clientWidth;
    new ResizeObserver(() => {
      if (this.lanes.parentElement.clientWidth === width) return;
      width = this.lanes.parentElement.clientWidth;
      this.draw();
      this.choose(this.step);
    }).observe(this.lanes.parentElement);
  }

  target(name) {
    const last = this.trace.rows.length;
    return { first: 0, last, previous: Math.max(0, this.step - 1), next: Math.min(last, this.step + 1),
             difference: Math.max(0, this.trace.first_difference + 1) }[name];
  }

  choose(step) {
    this.rows[this.step - 1]?.classList.remove("selected");
    this.step = step;
    const chosen = this.rows[step - 1];
    chosen?.classList.add("selected");
    this.slider.value = step;
    const row = this.trace.rows[step - 1];
    const text = row ? `${step} of ${this.trace.rows.length}: ${row.actor} ${row.operation}` : "the start";
    this.output.textContent = text;
    this.slider.setAttribute("aria-valuetext", text);
    const now = document.querySelector(".chances .now");
    for (const end of now ? ["x1", "x2"] : []) now.setAttribute(end, step);
    this.reveal(step);
    this.tell(row, step);
  }

  // Scrolls the lanes, never the page.
  reveal(step) {
    const y = (step - 1) * ROW, seen = this.lanes.clientHeight - HEAD;
    if (y < this.lanes.scrollTop || y + 2 * ROW > this.lanes.scrollTop + seen) this.lanes.scrollTop = Math.max(0, y - seen / 2);
  }

  tell(row, step) {
    const state = this.states[step], frame = this.trace.frames[step];
    const everything = () => ordered(new Set([...state.old.keys(), ...state.new.keys()]));
    const parts = [make("h3", {}, row ? `Step ${step}: ${row.actor} ${row.operation}` : "Before the first step")];
    parts.push(stepTable(row, state, frame, frame && this.everything ? everything() : this.telling));
    parts.push(frame ? this.checkbox(row, step) : make("p", { class: "note" }, "This machine is too large to be shown."));
    this.root.querySelector(".state").replaceChildren(...parts);
  }

  checkbox(row, step) {
    const label = make("label"), box = make("input", { type: "checkbox" });
    box.checked = this.everything;
    box.addEventListener("change", () => {
      this.everything = box.checked;
      this.tell(row, step);
      this.root.querySelector(".state input").focus();
    });
    label.append(box, "also what never changes");
    return label;
  }
}

async function show() {
  const root = document.getElementById("picture");
  if (root === null || "picture" in root) return;
  root.picture = null; // on its way
  const response = await fetch(root.dataset.trace);
  if (!response.ok) return;
  const trace = await response.json();
  root.hidden = false;
  root.picture = new Picture(root, trace);
  document.querySelector(".told").open = false;
}

// A replay that was not there yet comes later, with the part of the page that shows it.
document.addEventListener("htmx:after:swap", show);
await show();
