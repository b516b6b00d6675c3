// The tabs with the kinds of errors, and with what is taken for what.

function errorBars(found) {
  return bars(
    found.names.map((name, e) => ({
      name,
      value: found.gain[e],
      text: signed(found.gain[e]),
      note: whole(found.counts[e]),
    })),
  );
}

function errors() {
  const found = now().errors;
  const rows = data.classes
    .map((name, label) => ({
      name,
      label,
      counts: found.perClass[label],
      sum: found.perClass[label].reduce((a, b) => a + b, 0),
    }))
    .filter(row => row.sum);
  const columns = [
    {name: "Class", value: row => row.name, cell: row => row.name, start: "ascending"},
    ...found.names.map((name, e) => ({
      name,
      value: row => row.counts[e],
      cell: row => (row.counts[e] ? whole(row.counts[e]) : "·"),
    })),
    {name: "all", value: row => row.sum, cell: row => whole(row.sum)},
  ];
  return [
    element(
      "div",
      {class: "grid"},
      card(
        "What mending gives back",
        `AP50 is ${percent(found.ap50)}; each bar is what it would gain, with the number of errors.`,
        errorBars(found),
      ),
      card(
        "Both sides",
        "AP50 without a single false detection, and with nothing missed.",
        bars([
          {name: "no false detections", value: found.falsePositives, text: signed(found.falsePositives)},
          {name: "nothing missed", value: found.falseNegatives, text: signed(found.falseNegatives)},
        ]),
      ),
      card(
        "Kinds of errors",
        "",
        element(
          "p",
          {class: "hint", style: "margin:0"},
          "Classification: right place, wrong class. Localisation: right class, IoU of 0.1 to 0.5. Both: wrong class and place. Duplicate: a better detection has the object. Background: nothing is there. Missed: found by none.",
        ),
      ),
    ),
    card(
      "By class",
      "Numbers of errors, of the 100 best detections of each image; a row chooses its class.",
      sortable(rows, columns, {
        sortedBy: columns.length - 1,
        chosen: row => row.label === state.label,
        choose: row => setLabel(row.label === state.label ? -1 : row.label),
        key: row => row.name,
      }),
    ),
  ];
}

function confusion() {
  const found = now().confusion;
  const none = data.classes.length;
  const limit = 24;
  const name = index => (index === none ? "nothing" : data.classes[index]);
  const total = new Map();
  const mixed = new Map();
  for (const [i, j, count] of found.cells) {
    total.set(i, (total.get(i) ?? 0) + count);
    const concerns = state.label < 0 || i === state.label || j === state.label;
    if (concerns && i !== j)
      for (const index of [i, j])
        if (index !== none)
          mixed.set(index, (mixed.get(index) ?? 0) + (i === none || j === none ? count * 1e-3 : count));
    if (concerns && i === j && !mixed.has(i)) mixed.set(i, 0);
  }
  if (state.label >= 0) mixed.set(state.label, Infinity);
  const shown = [...mixed]
    .sort((a, b) => b[1] - a[1])
    .slice(0, limit)
    .map(([index]) => index)
    .sort((a, b) => a - b)
    .concat(none);
  const cells = new Map(found.cells.map(([i, j, count]) => [i * (none + 1) + j, count]));
  const grid = element(
    "div",
    {
      class: "matrix",
      id: "matrix",
      style: `grid-template-columns:max-content repeat(${shown.length}, ${shown.length > 13 ? "minmax(27px, 40px)" : "minmax(34px, 58px)"})`,
    },
    element("div", {class: "head"}),
  );
  const told = element("p", {class: "hint", id: "told", style: "margin:12px 0 0;min-height:1.5em"}, "Point at a cell.");
  for (const j of shown) grid.append(element("div", {class: "head", title: name(j)}, element("span", {}, name(j))));
  for (const i of shown) {
    grid.append(element("div", {class: "side", title: name(i)}, name(i)));
    for (const j of shown) {
      const count = cells.get(i * (none + 1) + j) ?? 0;
      const share = count / (total.get(i) || 1);
      const text = `${name(i)} found as ${name(j)}: ${whole(count)}, ${percent(share)}% of the row`;
      const tell = () => {
        told.textContent = text;
      };
      grid.append(
        element(
          "div",
          {
            class: "cell" + (share > 0.55 ? " hot" : "") + (i === j ? " self" : ""),
            title: text,
            style: `--share:${count ? Math.max(share, 0.06).toFixed(3) : 0}`,
            on: {click: tell, pointerenter: tell},
          },
          count ? String(count) : "",
        ),
      );
    }
  }
  const pairs = found.cells
    .filter(
      ([i, j]) => i !== j && i !== none && j !== none && (state.label < 0 || i === state.label || j === state.label),
    )
    .sort((a, b) => b[2] - a[2])
    .slice(0, 12);
  const rest =
    data.classes.length > shown.length - 1
      ? ` The ${shown.length - 1} classes most confused of ${data.classes.length}.`
      : "";
  return [
    element(
      "div",
      {class: shown.length > 13 ? "stack" : "grid wide"},
      card(
        "Confusion",
        `Rows are what is annotated, columns what was found, of detections with a score of at least ${found.score.toFixed(2)} at IoU ${found.iou}.${rest}`,
        element("div", {class: "scroll"}, grid),
        told,
      ),
      card(
        "Most confused",
        "How often one class was found as another.",
        pairs.length
          ? bars(pairs.map(([i, j, count]) => ({name: `${name(i)} → ${name(j)}`, value: count, text: whole(count)})))
          : element("p", {class: "empty"}, "No class was taken for another."),
      ),
    ),
  ];
}
