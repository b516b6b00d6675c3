// The tab with precision and recall over the score, and what is kept at a score.

function kept(curve, threshold) {
  let low = 0;
  let high = curve.s.length; // scores fall
  while (low < high) {
    const middle = (low + high) >> 1;
    if (curve.s[middle] >= threshold) low = middle + 1;
    else high = middle;
  }
  return low
    ? {tp: curve.tp[low - 1], n: curve.n[low - 1], objects: curve.objects}
    : {tp: 0, n: 0, objects: curve.objects};
}

function together(threshold, label) {
  const curves = label < 0 ? now().curves : [now().curves[label]];
  return curves
    .map(curve => kept(curve, threshold))
    .reduce((a, b) => ({tp: a.tp + b.tp, n: a.n + b.n, objects: a.objects + b.objects}));
}

function shares({tp, n, objects}) {
  const precision = n ? tp / n : NaN;
  const recall = objects ? tp / objects : 0;
  return {precision, recall, f1: precision + recall > 0 ? (2 * precision * recall) / (precision + recall) : 0};
}

function scoreRange() {
  const scores = now()
    .curves.flatMap(curve => [curve.s[0], curve.s.at(-1)])
    .filter(Number.isFinite);
  const low = Math.min(0, ...scores);
  const high = Math.max(1, ...scores);
  return {low, high};
}

function sweep(label, count = 200) {
  const {low, high} = scoreRange();
  return Array.from({length: count + 1}, (_, i) => low + ((high - low) * i) / count).map(at => ({
    at,
    ...shares(together(at, label)),
  }));
}

function bestThreshold(label) {
  if (label >= 0) return now().curves[label].best ?? 0.5;
  return sweep(-1).reduce((best, point) => (point.f1 >= best.f1 ? point : best), {at: 0.5, f1: -1}).at;
}

function scores() {
  const points = sweep(state.label);
  const at = together(state.threshold, state.label);
  const here = shares(at);
  const half = Math.min(panel.clientWidth, 1200) > 960 ? (panel.clientWidth - 130) / 2 : panel.clientWidth - 42;
  const name = state.label < 0 ? "All classes" : data.classes[state.label];
  const unit = {low: 0, high: 1};
  const range = scoreRange();
  const series = [
    {name: "precision", colour: "var(--accent)", points: points.map(p => [p.at, p.precision])},
    {name: "recall", colour: "var(--missed)", points: points.map(p => [p.at, p.recall])},
    {name: "F1", colour: "var(--right)", points: points.map(p => [p.at, p.f1])},
  ];
  const curves = state.label < 0 && data.classes.length <= 40 ? now().curves : [];
  const pr = [
    ...curves
      .filter(c => c.objects)
      .map(c => ({
        colour: "var(--soft)",
        thin: true,
        points: c.tp.map((tp, i) => [tp / c.objects, c.n[i] ? tp / c.n[i] : 0]),
      })),
    {name, colour: "var(--accent)", points: points.filter(p => p.recall > 0).map(p => [p.recall, p.precision])},
  ];
  const tile = (title, value, note) =>
    element(
      "div",
      {class: "tile"},
      element("span", {}, title),
      element("b", {}, value),
      note ? element("span", {}, note) : null,
    );
  const parts = [
    element(
      "div",
      {class: "tiles", id: "at-threshold"},
      tile("Precision", percent(here.precision)),
      tile("Recall", percent(here.recall)),
      tile("F1", percent(here.f1)),
      tile("Right", whole(at.tp)),
      tile("Wrong", whole(at.n - at.tp)),
      tile("Missed", whole(at.objects - at.tp)),
    ),
    element(
      "div",
      {class: "grid wide"},
      card(
        "Precision and recall",
        `${name}, at IoU 0.5; the dot is at the chosen score${curves.length ? ", thin lines are single classes" : ""}.`,
        lines(half, {
          series: pr,
          x: {name: "recall", ...unit},
          y: {...unit},
          dots: [{x: here.recall, y: here.precision, colour: "var(--accent)"}],
        }),
      ),
      card(
        "By score",
        `${name}: what is kept at each score.`,
        lines(half, {series, x: {name: "score kept from", ...range}, y: {...unit}, mark: state.threshold}),
        legend(series),
      ),
    ),
  ];
  if (now().calibration) parts.push(calibration(now().calibration, half));
  return parts;
}

function calibration(found, width) {
  const step = 1 / found.counts.length;
  const total = found.counts.reduce((a, b) => a + b, 0) || 1;
  const rows = found.counts.map((count, i) => ({
    name: `${(i * step).toFixed(1)}–${((i + 1) * step).toFixed(1)}`,
    value: count / total,
    text: whole(count),
  }));
  const points = found.scores.map((score, i) => [score, found.precision[i]]).filter(([score]) => score !== null);
  const place = found.position === null ? "" : `, ${found.position.toFixed(3)} by place and size too`;
  return element(
    "div",
    {class: "grid wide"},
    card(
      "Calibration",
      `How often detections of a score are right; on the dashed line scores could be read as probabilities. Off by ${found.error.toFixed(3)} on average${place}.`,
      lines(width, {
        series: [
          {
            colour: "var(--soft)",
            dash: "4 4",
            points: [
              [0, 0],
              [1, 1],
            ],
          },
          {colour: "var(--accent)", points},
        ],
        dots: points.map(([x, y]) => ({x, y, colour: "var(--accent)"})),
        x: {name: "score", low: 0, high: 1},
        y: {low: 0, high: 1},
      }),
    ),
    card("How many", "Detections by score.", bars(rows)),
  );
}
