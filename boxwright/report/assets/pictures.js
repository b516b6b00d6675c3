// The worst images: outlines over small pictures, as the score slider and the class say.

function verdicts(image, threshold, label) {
  const fits = item => label < 0 || item.c === label;
  const found = image.dt.filter(item => item.s >= threshold && fits(item));
  const asked = image.gt.filter(item => !item.x && fits(item));
  const counts = {
    right: found.filter(item => item.v === 1).length,
    wrong: found.filter(item => item.v === 0).length,
    missed: asked.filter(item => item.f < threshold).length,
  };
  const total = 2 * counts.right + counts.wrong + counts.missed;
  return {...counts, found, asked, f1: total ? (2 * counts.right) / total : 1, errors: counts.wrong + counts.missed};
}

function picture(data, image, threshold, label, shown, named) {
  const {src, w, h} = data.pictures[image.id];
  const judged = verdicts(image, threshold, label);
  const svg = drawn("svg", {class: "picture", viewBox: `0 0 ${w} ${h}`, preserveAspectRatio: "xMidYMid meet"});
  if (src) svg.append(drawn("image", {href: src, width: w, height: h}));
  else svg.append(drawn("rect", {width: w, height: h, style: "fill:#2a2d33;stroke:none"}));
  const texts = [];
  const put = (item, look, text) => {
    if (!shown.has(look)) return;
    outline(svg, item, look, data.limbs, w);
    if (named && text) texts.push([item.b, text, look]);
  };
  for (const item of image.gt) if (item.x && (label < 0 || item.c === label)) put(item, "other", "");
  for (const item of judged.asked) if (item.f >= threshold) put(item, "truth", "");
  for (const item of judged.asked) if (item.f < threshold) put(item, "missed", data.classes[item.c]);
  for (const item of judged.found.toReversed()) {
    const look = item.v === 1 ? "right" : item.v === 0 ? "wrong" : "other";
    put(item, look, `${data.classes[item.c]} ${item.s.toFixed(2)}`);
  }
  placeNames(svg, texts.toReversed(), w, h);
  return svg;
}

// Names at the first free place around their boxes; one that finds none is left to the list below the picture.
function placeNames(svg, texts, w, h) {
  const size = Math.max(w, h) / 44;
  const taken = [];
  for (const [[x, y, , height], text, look] of texts) {
    const wide = text.length * size * 0.6;
    const left = Math.min(Math.max(x, 1), Math.max(w - wide, 1));
    const free = [y - 3, y + height + size, y + size, y + height - 3].find(
      base =>
        base >= size &&
        base <= h - 2 &&
        !taken.some(([l, b, v]) => left < l + v && l < left + wide && Math.abs(base - b) < size * 1.15),
    );
    if (free === undefined) continue;
    taken.push([left, free, wide]);
    const node = labelled(text, left, free, "start");
    node.setAttribute("class", `name-${look}`);
    node.style.fontSize = `${size}px`;
    svg.append(node);
  }
}

function outline(svg, item, look, limbs, width) {
  if (item.m) svg.append(drawn("path", {class: look, d: item.m, "fill-rule": "evenodd"}));
  else if (!item.k || look !== "truth")
    svg.append(drawn("rect", {class: look, x: item.b[0], y: item.b[1], width: item.b[2], height: item.b[3]}));
  if (!item.k) return;
  const point = i => [item.k[2 * i], item.k[2 * i + 1]];
  const seen = i => item.k[2 * i] >= 0;
  for (const [a, b] of limbs)
    if (2 * Math.max(a, b) < item.k.length && seen(a) && seen(b))
      svg.append(drawn("line", {class: look, x1: point(a)[0], y1: point(a)[1], x2: point(b)[0], y2: point(b)[1]}));
  for (let i = 0; 2 * i < item.k.length; i++)
    if (seen(i))
      svg.append(drawn("circle", {class: look, cx: point(i)[0], cy: point(i)[1], r: Math.max(width / 220, 1.6)}));
}

const counted = judged =>
  element(
    "div",
    {class: "counts"},
    element("span", {class: "right"}, `${judged.right} right`),
    element("span", {class: "wrong"}, `${judged.wrong} wrong`),
    element("span", {class: "missed"}, `${judged.missed} missed`),
  );

function gallery(data, kind, state, redraw) {
  const images = data.kinds[kind].images.filter(
    image =>
      state.label < 0 ||
      image.gt.some(item => item.c === state.label) ||
      image.dt.some(item => item.c === state.label && item.s >= state.threshold),
  );
  const orders = {
    "most errors": (a, b) => b.errors - a.errors || a.f1 - b.f1,
    "most wrong": (a, b) => b.wrong - a.wrong,
    "most missed": (a, b) => b.missed - a.missed,
    "lowest F1": (a, b) => a.f1 - b.f1,
  };
  const judged = new Map(images.map(image => [image, verdicts(image, state.threshold, state.label)]));
  images.sort((a, b) => orders[state.order](judged.get(a), judged.get(b)));
  const order = element(
    "select",
    {
      id: "order",
      on: {
        change: event => {
          state.order = event.target.value;
          redraw();
        },
      },
    },
    ...Object.keys(orders).map(name => element("option", {selected: name === state.order}, name)),
  );
  const switches = [
    ["right", "right"],
    ["wrong", "wrong"],
    ["missed", "missed"],
    ["truth", "annotated, found"],
  ].map(([look, text]) =>
    element(
      "label",
      {},
      element("input", {
        type: "checkbox",
        "data-look": look,
        checked: state.shown.has(look),
        on: {
          change: event => {
            state.shown[event.target.checked ? "add" : "delete"](look);
            redraw();
          },
        },
      }),
      element("i", {
        class: "key" + (look === "missed" || look === "truth" ? " dashed" : ""),
        style: `border-color:var(--${look === "truth" ? "soft" : look})`,
      }),
      text,
    ),
  );
  const shots = images.map((image, index) =>
    element(
      "button",
      {class: "shot", type: "button", on: {click: () => enlarge(data, images, index, state)}},
      element("div", {class: "frame"}, picture(data, image, state.threshold, state.label, state.shown, false)),
      element("div", {class: "about"}, element("b", {}, image.file || String(image.id)), counted(judged.get(image))),
    ),
  );
  return [
    element("div", {class: "tools"}, element("label", {}, "First", order), ...switches),
    shots.length
      ? element("div", {class: "gallery", id: "gallery", style: `--ratio:${usualRatio(data, images)}`}, ...shots)
      : element("p", {class: "empty"}, "No image among the worst ones has this class."),
  ];
}

function usualRatio(data, images) {
  const ratios = images.map(image => data.pictures[image.id].w / data.pictures[image.id].h).sort((a, b) => a - b);
  return Math.min(Math.max(ratios[ratios.length >> 1], 0.8), 1.6).toFixed(3);
}

function enlarge(data, images, start, state) {
  const viewer = document.getElementById("viewer");
  let index = start;
  const show = () => {
    const image = images[index];
    const judged = verdicts(image, state.threshold, state.label);
    const errors = data.kinds[state.kind].errors;
    const wrong = judged.found
      .filter(item => item.v === 0)
      .map(item => {
        const why = errors && item.e >= 0 ? `, ${errors.names[item.e]}` : "";
        return `${data.classes[item.c]} ${item.s.toFixed(2)}${why}`;
      });
    const missed = judged.asked.filter(item => item.f < state.threshold).map(item => data.classes[item.c]);
    viewer.replaceChildren(
      element(
        "div",
        {class: "bar"},
        element("b", {}, image.file || String(image.id)),
        element("button", {type: "button", title: "Previous (left arrow)", on: {click: () => move(-1)}}, "←"),
        element("button", {type: "button", title: "Next (right arrow)", on: {click: () => move(1)}}, "→"),
        element("button", {type: "button", on: {click: () => viewer.close()}}, "Close"),
      ),
      element("div", {class: "frame"}, picture(data, image, state.threshold, state.label, state.shown, true)),
      element(
        "div",
        {class: "about"},
        counted(judged),
        wrong.length ? element("p", {}, "Wrong: " + wrong.join("; ")) : null,
        missed.length ? element("p", {}, "Missed: " + missed.join(", ")) : null,
      ),
    );
  };
  const move = by => {
    index = (index + by + images.length) % images.length;
    show();
  };
  viewer.onkeydown = event => {
    if (event.key === "ArrowLeft") move(-1);
    if (event.key === "ArrowRight") move(1);
  };
  viewer.onclick = event => {
    if (event.target === viewer) viewer.close();
  };
  show();
  viewer.showModal();
}
