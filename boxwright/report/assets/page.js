// The page: what is chosen, its tabs, and what stays around them.

const data = JSON.parse(document.getElementById("data").textContent);
const kinds = Object.keys(data.kinds);
const state = {
  kind: kinds[0],
  tab: "overview",
  label: -1,
  threshold: 0.5,
  order: "most errors",
  query: "",
  shown: new Set(["right", "wrong", "missed", "truth", "other"]),
};
const panel = document.getElementById("panel");
const now = () => data.kinds[state.kind];
const NAMES = {box: "Boxes", mask: "Masks", keypoint: "Keypoints"};

const TABS = {
  overview: ["Overview", () => true, overview],
  classes: ["Classes", () => true, classes],
  scores: ["Scores", () => true, scores],
  errors: ["Errors", () => now().errors, errors],
  confusion: ["Confusion", () => now().confusion && data.classes.length > 1, confusion],
  images: ["Images", () => now().images.length, () => gallery(data, state.kind, state, draw)],
  training: ["Training", () => data.training, training],
};

function draw() {
  if (!TABS[state.tab][1]()) state.tab = "overview";
  document.getElementById("tabs").replaceChildren(
    ...Object.entries(TABS)
      .filter(([, [, there]]) => there())
      .map(([id, [name]]) =>
        element(
          "button",
          {
            role: "tab",
            id: `tab-${id}`,
            "aria-selected": String(id === state.tab),
            type: "button",
            on: {click: () => setTab(id)},
          },
          name,
        ),
      ),
  );
  const bar = document.getElementById("tabs");
  const chosen = document.getElementById(`tab-${state.tab}`);
  bar.scrollLeft = chosen.offsetLeft - (bar.clientWidth - chosen.offsetWidth) / 2;
  document
    .getElementById("kinds")
    .replaceChildren(
      ...(kinds.length > 1 ? kinds : []).map(kind =>
        element(
          "button",
          {
            type: "button",
            "data-kind": kind,
            "aria-pressed": String(kind === state.kind),
            on: {click: () => setKind(kind)},
          },
          NAMES[kind],
        ),
      ),
    );
  document.getElementById("class").value = String(state.label);
  document.getElementById("threshold").value = state.threshold;
  document.getElementById("class").parentElement.hidden = ![
    "scores",
    "confusion",
    "images",
    "classes",
    "errors",
  ].includes(state.tab);
  for (const id of ["threshold", "best"])
    document.getElementById(id).closest("label, button").hidden = !["scores", "images", "classes"].includes(state.tab);
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
  const slider = document.getElementById("threshold");
  const {low, high} = scoreRange();
  Object.assign(slider, {min: low, max: high, step: (high - low) / 1000});
  state.threshold = bestThreshold(-1);
}

function begin() {
  document.getElementById("title").textContent = data.title;
  document.getElementById("source").textContent = data.source;
  const timing = data.timing ? [["ms an image", (1000 * data.timing.seconds_per_image).toFixed(0)]] : [];
  const several = (number, one, many) => [number === 1 ? one : many, whole(number)];
  const facts = [
    several(data.numImages, "image", "images"),
    several(data.numObjects, "object", "objects"),
    several(data.classes.length, "class", "classes"),
    ...timing,
  ];
  document
    .getElementById("facts")
    .replaceChildren(...facts.map(([name, value]) => element("li", {}, element("b", {}, value), name)));
  document
    .getElementById("class")
    .replaceChildren(
      element("option", {value: "-1"}, "all classes"),
      ...data.classes.map((name, label) => element("option", {value: label}, name)),
    );
  const notes = data.notes.map(note => element("p", {}, "Note: " + note));
  document
    .getElementById("foot")
    .replaceChildren(
      ...notes,
      element(
        "p",
        {},
        `Figures in percent, as pycocotools counts them; intervals from ${whole(now().resamples)} resamples of the images. boxwright ${data.version}.`,
      ),
    );
  document.getElementById("class").addEventListener("change", event => setLabel(Number(event.target.value)));
  document.getElementById("threshold").addEventListener("input", event => {
    state.threshold = Number(event.target.value);
    draw();
  });
  document.getElementById("best").addEventListener("click", () => {
    state.threshold = bestThreshold(state.label);
    draw();
  });
  let width = window.innerWidth;
  window.addEventListener("resize", () => {
    if (window.innerWidth !== width) {
      width = window.innerWidth;
      draw();
    }
  });
  if (location.hash.slice(1) in TABS) state.tab = location.hash.slice(1);
  prepare();
  draw();
}

begin();
