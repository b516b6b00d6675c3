"use strict";
// Small parts that draw: elements, bars, lines. Colours come from the style sheet, so that both schemes fit.

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") for (const [event, act] of Object.entries(value)) node.addEventListener(event, act);
    else if (name === "style") node.style.cssText = value;
    else if (value !== null && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter(child => child !== null));
  return node;
}

function drawn(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const percent = (value, digits = 1) => (value === null || !(value >= 0) ? "–" : (100 * value).toFixed(digits));
const signed = (value, digits = 1) => (value > 0 ? "+" : value < 0 ? "−" : "") + Math.abs(100 * value).toFixed(digits);
const whole = value => value.toLocaleString("en-US");
const card = (title, hint, ...content) =>
  element("section", {class: "card"}, element("h2", {}, title), element("p", {class: "hint"}, hint), ...content);

function bars(rows, {highest = null, colour = null} = {}) {
  const top = highest ?? Math.max(1e-9, ...rows.map(row => row.value));
  const box = element("div", {class: "bars"});
  for (const row of rows) {
    const width = row.value > 0 ? Math.max(1, (100 * row.value) / top) : 0;
    const paint = row.colour ?? colour;
    box.append(
      element("span", {}, row.name),
      element(
        "div",
        {class: "track"},
        element("i", {style: `width:${width}%` + (paint ? `;background:${paint}` : "")}),
      ),
      element("b", {}, row.text, row.note ? element("small", {}, row.note) : null),
    );
  }
  return box;
}

// series: [{name, colour, points: [[x, y], ...], dash, dots}]; mark: x of an upright line
function lines(width, {series, x, y, mark = null, dots = [], height = 260}) {
  const left = 40;
  const right = 12;
  const top = 10;
  const bottom = 36;
  const svg = drawn("svg", {class: "chart", viewBox: `0 0 ${width} ${height}`, height, role: "img"});
  const px = value => left + ((value - x.low) / (x.high - x.low || 1)) * (width - left - right);
  const py = value => height - bottom - ((value - y.low) / (y.high - y.low || 1)) * (height - top - bottom);
  for (const tick of ticks(y.low, y.high, 5)) {
    svg.append(drawn("line", {class: "axis", x1: left, x2: width - right, y1: py(tick), y2: py(tick)}));
    svg.append(labelled((y.text ?? tidy)(tick), left - 8, py(tick) + 4, "end"));
  }
  for (const tick of ticks(x.low, x.high, width < 420 ? 4 : 6))
    svg.append(labelled((x.text ?? tidy)(tick), px(tick), height - bottom + 17, "middle"));
  svg.append(labelled(x.name, (left + width - right) / 2, height - 3, "middle"));
  for (const line of series) {
    const inside = line.points.filter(([a, b]) => Number.isFinite(a) && Number.isFinite(b));
    if (!inside.length) continue;
    const path = inside.map(([a, b]) => `${px(a).toFixed(1)} ${py(b).toFixed(1)}`).join("L");
    svg.append(
      drawn("path", {
        d: "M" + path,
        fill: "none",
        stroke: line.colour,
        "stroke-width": line.thin ? 1 : 2,
        "stroke-linejoin": "round",
        "stroke-dasharray": line.dash ?? "none",
        opacity: line.thin ? 0.35 : 1,
      }),
    );
  }
  if (mark !== null && mark >= x.low && mark <= x.high)
    svg.append(
      drawn("line", {
        x1: px(mark),
        x2: px(mark),
        y1: top,
        y2: height - bottom,
        stroke: "var(--ink)",
        "stroke-dasharray": "3 3",
      }),
    );
  for (const dot of dots)
    svg.append(
      drawn("circle", {cx: px(dot.x), cy: py(dot.y), r: 5, fill: dot.colour, stroke: "var(--card)", "stroke-width": 2}),
    );
  return svg;
}

function labelled(text, x, y, anchor) {
  const node = drawn("text", {x, y, "text-anchor": anchor});
  node.textContent = text;
  return node;
}

function ticks(low, high, wanted) {
  const span = high - low || 1;
  const raw = span / wanted;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map(k => k * power).find(s => s >= raw);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + step * 1e-6; k++) found.push(k * step);
  return found;
}

const tidy = value => (Math.abs(value) >= 1000 ? `${+(value / 1000).toFixed(1)}k` : String(+value.toPrecision(6)));

function legend(series) {
  return element(
    "div",
    {class: "legend"},
    ...series.map(line => element("span", {}, element("i", {style: `background:${line.colour}`}), line.name)),
  );
}

// rows: objects; columns: [{name, value(row), cell(row), start}] with start "descending" or "ascending"
function sortable(rows, columns, {sortedBy = 0, chosen = () => false, choose = null, key = null} = {}) {
  const body = element("tbody");
  const heads = [];
  const state = {column: sortedBy, falling: columns[sortedBy].start !== "ascending"};
  const compare = (a, b) => {
    const [u, v] = [a, b].map(columns[state.column].value);
    const order = typeof u === "string" ? u.localeCompare(v) : u - v;
    return state.falling ? -order : order;
  };
  const fill = () => {
    body.replaceChildren(
      ...[...rows].sort(compare).map(row => {
        const line = element(
          "tr",
          key ? {"data-class": key(row)} : {},
          ...columns.map(column => element("td", {}, column.cell(row))),
        );
        line.classList.toggle("chosen", chosen(row));
        if (choose) line.addEventListener("click", () => choose(row));
        return line;
      }),
    );
    heads.forEach((head, index) =>
      index === state.column
        ? head.setAttribute("aria-sort", state.falling ? "descending" : "ascending")
        : head.removeAttribute("aria-sort"),
    );
  };
  columns.forEach((column, index) =>
    heads.push(
      element(
        "th",
        {scope: "col"},
        element(
          "button",
          {
            type: "button",
            on: {
              click: () => {
                state.falling = state.column === index ? !state.falling : column.start !== "ascending";
                state.column = index;
                fill();
              },
            },
          },
          column.name,
        ),
      ),
    ),
  );
  fill();
  return element(
    "div",
    {class: "scroll"},
    element("table", {}, element("thead", {}, element("tr", {}, ...heads)), body),
  );
}
