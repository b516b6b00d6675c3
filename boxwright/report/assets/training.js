// The tab with the losses and figures of the run.

function training() {
  const names = Object.keys(data.training);
  const half = Math.min(panel.clientWidth, 1200) > 960 ? (panel.clientWidth - 130) / 2 : panel.clientWidth - 42;
  const groups = [
    ["Losses", /loss/],
    ["Figures of the validation", /^val: .*ap/],
    ["The rest", /./],
  ];
  const colours = [
    "var(--accent)",
    "var(--missed)",
    "var(--right)",
    "var(--wrong)",
    "var(--soft)",
    "#a35ad6",
    "#2a9fd6",
    "#c29b00",
  ];
  const left = new Set(names);
  const cards = [];
  for (const [title, pattern] of groups) {
    const chosen = [...left].filter(name => pattern.test(name));
    chosen.forEach(name => left.delete(name));
    if (title === "The rest") {
      for (const name of chosen) cards.push(chart(name, [name]));
    } else if (chosen.length) cards.push(chart(title, chosen));
  }
  function chart(title, chosen) {
    const series = chosen.map((name, k) => ({
      name: name.replace(/^train: /, ""),
      colour: colours[k % colours.length],
      dash: k >= colours.length ? "4 3" : "none",
      points: data.training[name][0].map((step, i) => [step, data.training[name][1][i]]),
    }));
    const all = series.flatMap(line => line.points);
    const ys = all.map(p => p[1]);
    const xs = all.map(p => p[0]);
    return card(
      title,
      "By step.",
      lines(half, {
        series,
        x: {name: "step", low: Math.min(...xs), high: Math.max(...xs)},
        y: {low: Math.min(0, ...ys), high: Math.max(...ys) || 1},
      }),
      series.length > 1 ? legend(series) : "",
    );
  }
  return [element("div", {class: "grid wide"}, ...cards)];
}
