// The tab with all figures of a kind, what errors cost, and the comparison with another run.

function overview() {
  const kind = now();
  const main = kind.figures.slice(0, 3);
  const rest = kind.figures.slice(3);
  const tile = ([name, value]) =>
    element("div", {class: "tile"}, element("span", {}, name), element("b", {}, percent(value)));
  const parts = [
    element(
      "div",
      {class: "tiles main"},
      ...main.map(([name, value]) => {
        const found = kind.intervals[name];
        const ends = found && found[1] > found[0] ? found : null; // one image has no spread
        return element(
          "div",
          {class: "tile"},
          element("span", {}, name),
          element("b", {}, percent(value)),
          ends && value >= 0
            ? element(
                "div",
                {class: "whisker"},
                element("i", {
                  style: `left:${100 * Math.max(ends[0], 0)}%;width:${100 * (Math.min(ends[1], 1) - Math.max(ends[0], 0))}%`,
                }),
                element("u", {style: `left:${100 * value}%`}),
              )
            : null,
          ends
            ? element("small", {}, `95%: ${percent(Math.max(ends[0], 0))} to ${percent(Math.min(ends[1], 1))}`)
            : null,
        );
      }),
    ),
    element("div", {class: "tiles"}, ...rest.map(tile)),
  ];
  if (kind.comparison) parts.push(comparison(kind.comparison));
  const charts = [];
  if (kind.errors)
    charts.push(
      card("What errors cost", "AP50 that mending all errors of a kind would give back.", errorBars(kind.errors)),
    );
  const titles = {
    size: ["By size", "AP by the side of an object in pixels."],
    shape: ["By shape", "AP by width to height."],
    crowdedness: ["By crowdedness", "AP by the number of objects in the image."],
  };
  for (const [by, [title, hint]] of Object.entries(titles)) {
    const rows = kind.slices.filter(row => row[0] === by && row[2] > 0);
    if (rows.length)
      charts.push(
        card(
          title,
          hint,
          bars(
            rows.map(row => ({name: row[1], value: Math.max(row[3], 0), text: percent(row[3]), note: whole(row[2])})),
            {highest: 1},
          ),
        ),
      );
  }
  const ranked = data.classes
    .map((name, label) => ({name, label, ap: kind.ap[label]}))
    .filter(row => row.ap >= 0)
    .sort((a, b) => a.ap - b.ap);
  if (ranked.length > 8)
    charts.push(
      card(
        "Weakest classes",
        "AP; the whole list is under Classes.",
        bars(
          ranked.slice(0, 6).map(row => ({name: row.name, value: row.ap, text: percent(row.ap)})),
          {highest: 1, colour: "var(--wrong)"},
        ),
      ),
    );
  parts.push(element("div", {class: "grid"}, ...charts));
  return parts;
}

function comparison(found) {
  const rows = found.figures.map(([name, first, second, change, low, high, share]) =>
    element(
      "tr",
      {},
      ...[
        name,
        percent(first),
        percent(second),
        element("b", {class: low > 0 ? "up" : high < 0 ? "down" : ""}, signed(change)),
        `${signed(low)} to ${signed(high)}`,
        `${percent(share, 0)}%`,
      ].map(cell => element("td", {}, cell)),
    ),
  );
  const changed = Object.entries(found.classes)
    .filter(([, [, low, high]]) => low > 0 || high < 0)
    .sort((a, b) => a[1][0] - b[1][0]);
  const told = changed.length
    ? "Beyond chance: " + changed.map(([name, [change]]) => `${name} ${signed(change)}`).join(", ") + "."
    : "No class changed beyond chance.";
  return card(
    "Against " + data.comparedWith,
    "Paired over the same images; coloured where the 95% interval of the difference leaves out 0.",
    element(
      "div",
      {class: "scroll"},
      element(
        "table",
        {},
        element(
          "thead",
          {},
          element(
            "tr",
            {},
            ...["", "that", "this", "difference", "95% interval", "better in"].map(name => element("th", {}, name)),
          ),
        ),
        element("tbody", {}, ...rows),
      ),
    ),
    element("p", {class: "hint", style: "margin:10px 0 0"}, told),
  );
}
