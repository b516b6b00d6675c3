// The tab with a table of the classes.

function classes() {
  const kind = now();
  const rows = data.classes
    .map((name, label) => ({
      name,
      label,
      ap: kind.ap[label],
      ap50: kind.ap50[label],
      ends: kind.classIntervals[label],
      curve: kind.curves[label],
      ...shares(kept(kind.curves[label], state.threshold)),
    }))
    .filter(row => row.name.toLowerCase().includes(state.query.toLowerCase()));
  const bar = value =>
    element(
      "span",
      {},
      element("span", {class: "mini"}, element("i", {style: `width:${Math.max(100 * value, 0)}%`})),
      percent(value),
    );
  const columns = [
    {name: "Class", value: row => row.name, cell: row => row.name, start: "ascending"},
    {name: "Objects", value: row => row.curve.objects, cell: row => whole(row.curve.objects)},
    {name: "AP", value: row => row.ap, cell: row => bar(row.ap)},
    {
      name: "95%",
      value: row => (row.ends ? row.ends[1] - row.ends[0] : -1),
      cell: row => (row.ends ? `${percent(Math.max(row.ends[0], 0))}–${percent(Math.min(row.ends[1], 1))}` : "–"),
    },
    {name: "AP50", value: row => row.ap50, cell: row => percent(row.ap50)},
    {
      name: "Best score",
      value: row => row.curve.best ?? -1,
      cell: row => (row.curve.best === null ? "–" : row.curve.best.toFixed(3)),
    },
    {name: "Best F1", value: row => row.curve.f1, cell: row => percent(row.curve.f1)},
    {name: "Precision", value: row => row.precision, cell: row => (row.curve.objects ? percent(row.precision) : "–")},
    {name: "Recall", value: row => row.recall, cell: row => (row.curve.objects ? percent(row.recall) : "–")},
  ];
  const search = element("input", {
    type: "search",
    id: "query",
    placeholder: "Filter classes",
    value: state.query,
    on: {
      input: event => {
        state.query = event.target.value;
        draw();
        const box = document.getElementById("query");
        box.focus();
        box.setSelectionRange(state.query.length, state.query.length);
      },
    },
  });
  return [
    card(
      "Classes",
      `Precision and recall at IoU 0.5 are of detections with a score of at least ${state.threshold.toFixed(3)}; a row chooses its class.`,
      element("div", {class: "tools"}, search),
      rows.length
        ? sortable(rows, columns, {
            sortedBy: 2,
            chosen: row => row.label === state.label,
            choose: row => setLabel(row.label === state.label ? -1 : row.label),
            key: row => row.name,
          })
        : element("p", {class: "empty"}, "No class has this in its name."),
    ),
  ];
}
