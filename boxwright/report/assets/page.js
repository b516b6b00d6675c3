// The page: what is chosen, and one function for each tab.

const data = JSON.parse(document.getElementById("data").textContent);
const kinds = Object.keys(data.kinds);
const state = {
  kind: kinds[0], tab: "overview", label: -1, threshold: 0.5, order: "most errors", query: "",
  shown: new Set(["right", "wrong", "missed", "truth", "other"]),
};
const panel = document.getElementById("panel");
const now = () => data.kinds[state.kind];
const NAMES = {box: "Boxes", mask: "Masks", keypoint: "Keypoints"};

// --- scores and what they keep

function kept(curve, threshold) {
  let low = 0, high = curve.s.length;  // scores fall
  while (low < high) {
    const middle = (low + high) >> 1;
    if (curve.s[middle] >= threshold) low = middle + 1; else high = middle;
  }
  return low ? {tp: curve.tp[low - 1], n: curve.n[low - 1], objects: curve.objects} : {tp: 0, n: 0, objects: curve.objects};
}

function together(threshold, label) {
  const curves = label < 0 ? now().curves : [now().curves[label]];
  return curves.map(curve => kept(curve, threshold)).reduce((a, b) => ({tp: a.tp + b.tp, n: a.n + b.n, objects: a.objects + b.objects}));
}

function shares({tp, n, objects}) {
  const precision = n ? tp / n : NaN, recall = objects ? tp / objects : 0;
  return {precision, recall, f1: precision + recall > 0 ? 2 * precision * recall / (precision + recall) : 0};
}

function scoreRange() {
  const scores = now().curves.flatMap(curve => [curve.s[0], curve.s.at(-1)]).filter(Number.isFinite);
  const low = Math.min(0, ...scores), high = Math.max(1, ...scores);
  return {low, high};
}

function sweep(label, count = 200) {
  const {low, high} = scoreRange();
  return Array.from({length: count + 1}, (_, i) => low + (high - low) * i / count).map(at => ({at, ...shares(together(at, label))}));
}

function bestThreshold(label) {
  if (label >= 0) return now().curves[label].best ?? 0.5;
  return sweep(-1).reduce((best, point) => point.f1 >= best.f1 ? point : best, {at: 0.5, f1: -1}).at;
}

// --- tabs

const TABS = {
  overview: ["Overview", () => true, overview],
  classes: ["Classes", () => true, classes],
  scores: ["Scores", () => true, scores],
  errors: ["Errors", () => now().errors, errors],
  confusion: ["Confusion", () => now().confusion && data.classes.length > 1, confusion],
  images: ["Images", () => now().images.length, () => gallery(data, state.kind, state, draw)],
  training: ["Training", () => data.training, training],
};

function overview() {
  const kind = now(), main = kind.figures.slice(0, 3), rest = kind.figures.slice(3);
  const tile = ([name, value]) => element("div", {class: "tile"}, element("span", {}, name), element("b", {}, percent(value)));
  const parts = [
    element("div", {class: "tiles main"}, ...main.map(([name, value]) => {
      const found = kind.intervals[name], ends = found && found[1] > found[0] ? found : null;  // one image has no spread
      return element("div", {class: "tile"}, element("span", {}, name), element("b", {}, percent(value)),
        ends && value >= 0 ? element("div", {class: "whisker"},
          element("i", {style: `left:${100 * Math.max(ends[0], 0)}%;width:${100 * (Math.min(ends[1], 1) - Math.max(ends[0], 0))}%`}),
          element("u", {style: `left:${100 * value}%`})) : null,
        ends ? element("small", {}, `95%: ${percent(Math.max(ends[0], 0))} to ${percent(Math.min(ends[1], 1))}`) : null);
    })),
    element("div", {class: "tiles"}, ...rest.map(tile)),
  ];
  if (kind.comparison) parts.push(comparison(kind.comparison));
  const charts = [];
  if (kind.errors) charts.push(card("What errors cost", "AP50 that mending all errors of a kind would give back.", errorBars(kind.errors)));
  const titles = {size: ["By size", "AP by the side of an object in pixels."], shape: ["By shape", "AP by width to height."],
    crowdedness: ["By crowdedness", "AP by the number of objects in the image."]};
  for (const [by, [title, hint]] of Object.entries(titles)) {
    const rows = kind.slices.filter(row => row[0] === by && row[2] > 0);
    if (rows.length) charts.push(card(title, hint, bars(rows.map(row => ({name: row[1], value: Math.max(row[3], 0), text: percent(row[3]), note: whole(row[2])})), {highest: 1})));
  }
  const ranked = data.classes.map((name, label) => ({name, label, ap: kind.ap[label]})).filter(row => row.ap >= 0).sort((a, b) => a.ap - b.ap);
  if (ranked.length > 8) charts.push(card("Weakest classes", "AP; the whole list is under Classes.", bars(ranked.slice(0, 6).map(row => ({name: row.name, value: row.ap, text: percent(row.ap)})), {highest: 1, colour: "var(--wrong)"})));
  parts.push(element("div", {class: "grid"}, ...charts));
  return parts;
}

function comparison(found) {
  const rows = found.figures.map(([name, first, second, change, low, high, share]) => element("tr", {}, ...[
    name, percent(first), percent(second), element("b", {class: low > 0 ? "up" : high < 0 ? "down" : ""}, signed(change)),
    `${signed(low)} to ${signed(high)}`, `${percent(share, 0)}%`].map(cell => element("td", {}, cell))));
  const changed = Object.entries(found.classes).filter(([, [, low, high]]) => low > 0 || high < 0).sort((a, b) => a[1][0] - b[1][0]);
  const told = changed.length ? "Beyond chance: " + changed.map(([name, [change]]) => `${name} ${signed(change)}`).join(", ") + "." : "No class changed beyond chance.";
  return card("Against " + data.comparedWith, "Paired over the same images; coloured where the 95% interval of the difference leaves out 0.",
    element("div", {class: "scroll"}, element("table", {}, element("thead", {}, element("tr", {}, ...["", "that", "this", "difference", "95% interval", "better in"].map(name => element("th", {}, name)))), element("tbody", {}, ...rows))),
    element("p", {class: "hint", style: "margin:10px 0 0"}, told));
}

function errorBars(found) {
  return bars(found.names.map((name, e) => ({name, value: found.gain[e], text: signed(found.gain[e]), note: whole(found.counts[e])})));
}

function classes() {
  const kind = now();
  const rows = data.classes.map((name, label) => ({name, label, ap: kind.ap[label], ap50: kind.ap50[label], ends: kind.classIntervals[label],
    curve: kind.curves[label], ...shares(kept(kind.curves[label], state.threshold))}))
    .filter(row => row.name.toLowerCase().includes(state.query.toLowerCase()));
  const bar = value => element("span", {}, element("span", {class: "mini"}, element("i", {style: `width:${Math.max(100 * value, 0)}%`})), percent(value));
  const columns = [
    {name: "Class", value: row => row.name, cell: row => row.name, start: "ascending"},
    {name: "Objects", value: row => row.curve.objects, cell: row => whole(row.curve.objects)},
    {name: "AP", value: row => row.ap, cell: row => bar(row.ap)},
    {name: "95%", value: row => row.ends ? row.ends[1] - row.ends[0] : -1, cell: row => row.ends ? `${percent(Math.max(row.ends[0], 0))}–${percent(Math.min(row.ends[1], 1))}` : "–"},
    {name: "AP50", value: row => row.ap50, cell: row => percent(row.ap50)},
    {name: "Best score", value: row => row.curve.best ?? -1, cell: row => row.curve.best === null ? "–" : row.curve.best.toFixed(3)},
    {name: "Best F1", value: row => row.curve.f1, cell: row => percent(row.curve.f1)},
    {name: "Precision", value: row => row.precision, cell: row => row.curve.objects ? percent(row.precision) : "–"},
    {name: "Recall", value: row => row.recall, cell: row => row.curve.objects ? percent(row.recall) : "–"},
  ];
  const search = element("input", {type: "search", id: "query", placeholder: "Filter classes", value: state.query, on: {input: event => {
    state.query = event.target.value;
    draw();
    const box = document.getElementById("query");
    box.focus();
    box.setSelectionRange(state.query.length, state.query.length);
  }}});
  return [card("Classes", `Precision and recall at IoU 0.5 are of detections with a score of at least ${state.threshold.toFixed(3)}; a row chooses its class.`,
    element("div", {class: "tools"}, search),
    rows.length ? sortable(rows, columns, {sortedBy: 2, chosen: row => row.label === state.label, choose: row => setLabel(row.label === state.label ? -1 : row.label), key: row => row.name})
      : element("p", {class: "empty"}, "No class has this in its name."))];
}

function scores() {
  const points = sweep(state.label), at = together(state.threshold, state.label), here = shares(at);
  const half = Math.min(panel.clientWidth, 1200) > 960 ? (panel.clientWidth - 130) / 2 : panel.clientWidth - 42;
  const name = state.label < 0 ? "All classes" : data.classes[state.label];
  const unit = {low: 0, high: 1}, range = scoreRange();
  const series = [
    {name: "precision", colour: "var(--accent)", points: points.map(p => [p.at, p.precision])},
    {name: "recall", colour: "var(--missed)", points: points.map(p => [p.at, p.recall])},
    {name: "F1", colour: "var(--right)", points: points.map(p => [p.at, p.f1])},
  ];
  const curves = state.label < 0 && data.classes.length <= 40 ? now().curves : [];
  const curve = label => points => points.map(p => [p.recall, p.precision]);
  const pr = [
    ...curves.filter(c => c.objects).map(c => ({colour: "var(--soft)", thin: true, points: c.tp.map((tp, i) => [tp / c.objects, c.n[i] ? tp / c.n[i] : 0])})),
    {name, colour: "var(--accent)", points: curve(state.label)(points.filter(p => p.recall > 0))},
  ];
  const tile = (title, value, note) => element("div", {class: "tile"}, element("span", {}, title), element("b", {}, value), note ? element("span", {}, note) : null);
  const parts = [
    element("div", {class: "tiles", id: "at-threshold"},
      tile("Precision", percent(here.precision)), tile("Recall", percent(here.recall)), tile("F1", percent(here.f1)),
      tile("Right", whole(at.tp)), tile("Wrong", whole(at.n - at.tp)), tile("Missed", whole(at.objects - at.tp))),
    element("div", {class: "grid wide"},
      card("Precision and recall", `${name}, at IoU 0.5; the dot is at the chosen score${curves.length ? ", thin lines are single classes" : ""}.`,
        lines(half, {series: pr, x: {name: "recall", ...unit}, y: {...unit}, dots: [{x: here.recall, y: here.precision, colour: "var(--accent)"}]})),
      card("By score", `${name}: what is kept at each score.`,
        lines(half, {series, x: {name: "score kept from", ...range}, y: {...unit}, mark: state.threshold}), legend(series))),
  ];
  if (now().calibration) parts.push(calibration(now().calibration, half));
  return parts;
}

function calibration(found, width) {
  const step = 1 / found.counts.length, total = found.counts.reduce((a, b) => a + b, 0) || 1;
  const rows = found.counts.map((count, i) => ({name: `${(i * step).toFixed(1)}–${((i + 1) * step).toFixed(1)}`, value: count / total, text: whole(count)}));
  const points = found.scores.map((score, i) => [score, found.precision[i]]).filter(([score]) => score !== null);
  const place = found.position === null ? "" : `, ${found.position.toFixed(3)} by place and size too`;
  return element("div", {class: "grid wide"},
    card("Calibration", `How often detections of a score are right; on the dashed line scores could be read as probabilities. Off by ${found.error.toFixed(3)} on average${place}.`,
      lines(width, {series: [{colour: "var(--soft)", dash: "4 4", points: [[0, 0], [1, 1]]}, {colour: "var(--accent)", points}],
        dots: points.map(([x, y]) => ({x, y, colour: "var(--accent)"})), x: {name: "score", low: 0, high: 1}, y: {low: 0, high: 1}})),
    card("How many", "Detections by score.", bars(rows)));
}

function errors() {
  const found = now().errors;
  const rows = data.classes.map((name, label) => ({name, label, counts: found.perClass[label], sum: found.perClass[label].reduce((a, b) => a + b, 0)})).filter(row => row.sum);
  const columns = [
    {name: "Class", value: row => row.name, cell: row => row.name, start: "ascending"},
    ...found.names.map((name, e) => ({name, value: row => row.counts[e], cell: row => row.counts[e] ? whole(row.counts[e]) : "·"})),
    {name: "all", value: row => row.sum, cell: row => whole(row.sum)},
  ];
  return [
    element("div", {class: "grid"},
      card("What mending gives back", `AP50 is ${percent(found.ap50)}; each bar is what it would gain, with the number of errors.`, errorBars(found)),
      card("Both sides", "AP50 without a single false detection, and with nothing missed.", bars([
        {name: "no false detections", value: found.falsePositives, text: signed(found.falsePositives)},
        {name: "nothing missed", value: found.falseNegatives, text: signed(found.falseNegatives)}])),
      card("Kinds of errors", "", element("p", {class: "hint", style: "margin:0"},
        "Classification: right place, wrong class. Localisation: right class, IoU of 0.1 to 0.5. Both: wrong class and place. Duplicate: a better detection has the object. Background: nothing is there. Missed: found by none."))),
    card("By class", "Numbers of errors, of the 100 best detections of each image; a row chooses its class.",
      sortable(rows, columns, {sortedBy: columns.length - 1, chosen: row => row.label === state.label, choose: row => setLabel(row.label === state.label ? -1 : row.label), key: row => row.name})),
  ];
}

function confusion() {
  const found = now().confusion, none = data.classes.length, limit = 24;
  const name = index => index === none ? "nothing" : data.classes[index];
  const total = new Map(), mixed = new Map();
  for (const [i, j, count] of found.cells) {
    total.set(i, (total.get(i) ?? 0) + count);
    const concerns = state.label < 0 || i === state.label || j === state.label;
    if (concerns && i !== j) for (const index of [i, j]) if (index !== none) mixed.set(index, (mixed.get(index) ?? 0) + (i === none || j === none ? count * 1e-3 : count));
    if (concerns && i === j && !mixed.has(i)) mixed.set(i, 0);
  }
  if (state.label >= 0) mixed.set(state.label, Infinity);
  const shown = [...mixed].sort((a, b) => b[1] - a[1]).slice(0, limit).map(([index]) => index).sort((a, b) => a - b).concat(none);
  const cells = new Map(found.cells.map(([i, j, count]) => [i * (none + 1) + j, count]));
  const grid = element("div", {class: "matrix", id: "matrix", style: `grid-template-columns:max-content repeat(${shown.length}, ${shown.length > 13 ? "minmax(27px, 40px)" : "minmax(34px, 58px)"})`}, element("div", {class: "head"}));
  const told = element("p", {class: "hint", id: "told", style: "margin:12px 0 0;min-height:1.5em"}, "Point at a cell.");
  for (const j of shown) grid.append(element("div", {class: "head", title: name(j)}, element("span", {}, name(j))));
  for (const i of shown) {
    grid.append(element("div", {class: "side", title: name(i)}, name(i)));
    for (const j of shown) {
      const count = cells.get(i * (none + 1) + j) ?? 0, share = count / (total.get(i) || 1);
      const text = `${name(i)} found as ${name(j)}: ${whole(count)}, ${percent(share)}% of the row`;
      const tell = () => { told.textContent = text; };
      grid.append(element("div", {class: "cell" + (share > .55 ? " hot" : "") + (i === j ? " self" : ""), title: text,
        style: `--share:${count ? Math.max(share, .06).toFixed(3) : 0}`, on: {click: tell, pointerenter: tell}}, count ? String(count) : ""));
    }
  }
  const pairs = found.cells.filter(([i, j]) => i !== j && i !== none && j !== none && (state.label < 0 || i === state.label || j === state.label)).sort((a, b) => b[2] - a[2]).slice(0, 12);
  const rest = data.classes.length > shown.length - 1 ? ` The ${shown.length - 1} classes most confused of ${data.classes.length}.` : "";
  return [element("div", {class: shown.length > 13 ? "stack" : "grid wide"},
    card("Confusion", `Rows are what is annotated, columns what was found, of detections with a score of at least ${found.score.toFixed(2)} at IoU ${found.iou}.${rest}`,
      element("div", {class: "scroll"}, grid), told),
    card("Most confused", "How often one class was found as another.", pairs.length
      ? bars(pairs.map(([i, j, count]) => ({name: `${name(i)} → ${name(j)}`, value: count, text: whole(count)})))
      : element("p", {class: "empty"}, "No class was taken for another.")))];
}

function training() {
  const names = Object.keys(data.training), half = Math.min(panel.clientWidth, 1200) > 960 ? (panel.clientWidth - 130) / 2 : panel.clientWidth - 42;
  const groups = [["Losses", /loss/], ["Figures of the validation", /^val: .*ap/], ["The rest", /./]];
  const colours = ["var(--accent)", "var(--missed)", "var(--right)", "var(--wrong)", "var(--soft)", "#a35ad6", "#2a9fd6", "#c29b00"];
  const left = new Set(names), cards = [];
  for (const [title, pattern] of groups) {
    const chosen = [...left].filter(name => pattern.test(name));
    chosen.forEach(name => left.delete(name));
    if (title === "The rest") {
      for (const name of chosen) cards.push(chart(name, [name]));
    } else if (chosen.length) cards.push(chart(title, chosen));
  }
  function chart(title, chosen) {
    const series = chosen.map((name, k) => ({name: name.replace(/^train: /, ""), colour: colours[k % colours.length], dash: k >= colours.length ? "4 3" : "none",
      points: data.training[name][0].map((step, i) => [step, data.training[name][1][i]])}));
    const all = series.flatMap(line => line.points), ys = all.map(p => p[1]), xs = all.map(p => p[0]);
    return card(title, "By step.", lines(half, {series, x: {name: "step", low: Math.min(...xs), high: Math.max(...xs)},
      y: {low: Math.min(0, ...ys), high: Math.max(...ys) || 1}}), series.length > 1 ? legend(series) : "");
  }
  return [element("div", {class: "grid wide"}, ...cards)];
}

// --- what stays around the tabs

function draw() {
  if (!TABS[state.tab][1]()) state.tab = "overview";
  document.getElementById("tabs").replaceChildren(...Object.entries(TABS).filter(([, [, there]]) => there()).map(([id, [name]]) =>
    element("button", {role: "tab", id: `tab-${id}`, "aria-selected": String(id === state.tab), type: "button", on: {click: () => setTab(id)}}, name)));
  const bar = document.getElementById("tabs"), chosen = document.getElementById(`tab-${state.tab}`);
  bar.scrollLeft = chosen.offsetLeft - (bar.clientWidth - chosen.offsetWidth) / 2;
  document.getElementById("kinds").replaceChildren(...(kinds.length > 1 ? kinds : []).map(kind =>
    element("button", {type: "button", "data-kind": kind, "aria-pressed": String(kind === state.kind), on: {click: () => setKind(kind)}}, NAMES[kind])));
  document.getElementById("class").value = String(state.label);
  document.getElementById("threshold").value = state.threshold;
  document.getElementById("class").parentElement.hidden = !["scores", "confusion", "images", "classes", "errors"].includes(state.tab);
  for (const id of ["threshold", "best"]) document.getElementById(id).closest("label, button").hidden = !["scores", "images", "classes"].includes(state.tab);
  document.getElementById("threshold-value").textContent = state.threshold.toFixed(3);
  panel.replaceChildren(...TABS[state.tab][2]());
}

function setTab(id) {
  state.tab = id;
  history.replaceState(null, "", "#" + id);
  draw();
  const bar = document.querySelector(".controls");
  if (bar.getBoundingClientRect().top <= 0) window.scrollTo({top: document.querySelector(".top").offsetHeight});
}

function setKind(kind) {
  state.kind = kind;
  prepare();
  draw();
}

function setLabel(label) {
  state.label = label;
  draw();
}

function prepare() {
  const slider = document.getElementById("threshold"), {low, high} = scoreRange();
  Object.assign(slider, {min: low, max: high, step: (high - low) / 1000});
  state.threshold = bestThreshold(-1);
}

function begin() {
  document.getElementById("title").textContent = data.title;
  document.getElementById("source").textContent = data.source;
  const timing = data.timing ? [["ms an image", (1000 * data.timing.seconds_per_image).toFixed(0)]] : [];
  const several = (number, one, many) => [number === 1 ? one : many, whole(number)];
  const facts = [several(data.numImages, "image", "images"), several(data.numObjects, "object", "objects"), several(data.classes.length, "class", "classes"), ...timing];
  document.getElementById("facts").replaceChildren(...facts.map(([name, value]) => element("li", {}, element("b", {}, value), name)));
  document.getElementById("class").replaceChildren(element("option", {value: "-1"}, "all classes"),
    ...data.classes.map((name, label) => element("option", {value: label}, name)));
  const notes = data.notes.map(note => element("p", {}, "Note: " + note));
  document.getElementById("foot").replaceChildren(...notes, element("p", {}, `Figures in percent, as pycocotools counts them; intervals from ${whole(now().resamples)} resamples of the images. boxwright ${data.version}.`));
  document.getElementById("class").addEventListener("change", event => setLabel(Number(event.target.value)));
  document.getElementById("threshold").addEventListener("input", event => { state.threshold = Number(event.target.value); draw(); });
  document.getElementById("best").addEventListener("click", () => { state.threshold = bestThreshold(state.label); draw(); });
  let width = window.innerWidth;
  window.addEventListener("resize", () => { if (window.innerWidth !== width) { width = window.innerWidth; draw(); } });
  if (location.hash.slice(1) in TABS) state.tab = location.hash.slice(1);
  prepare();
  draw();
}

begin();
