"""mmdetection's lists of transforms: how images are resized, and what training changes in them."""

from typing import Any

from boxwright.interop.mmdetection.foreign import LEFT_OUT
from boxwright.interop.tables.keys import ConfigReport
from boxwright.interop.tables.typed_nodes import Node, Reading, open_node

_KNOWN = (
    *("LoadImageFromFile", "LoadAnnotations", "LoadProposals", "ProposalBroadcaster", "Resize", "RandomChoiceResize"),
    *("RandomResize", "RandomFlip", "RandomCrop", "Pad", "FilterAnnotations", "PackDetInputs"),
)


class Pipeline:
    """Collects what the transforms of training and of test say."""

    def __init__(self, report: ConfigReport) -> None:
        self.report = report
        self.augment: dict[str, Any] = {"flip": 0.0}
        self.resize: dict[str, Any] = {"method": "opencv"}
        self.has_test = False
        self.is_polygon = False
        self.top_k: dict[str, int] = {}

    def train(self, transforms: Any, path: str, reading: Reading) -> None:
        """Reads the steps of the training pipeline."""
        for index, content in enumerate(transforms or []):
            kind = str(content.get("type")) if isinstance(content, dict) else ""
            place = f"{path}[{index}]"
            if kind in LEFT_OUT or (kind and kind not in _KNOWN):
                self.report.ignored.append((place, f"{kind} has no counterpart here; training is without it"))
                self.report.notes.append(f"training is without {kind}")
                continue
            node = open_node(content, path=place, kinds=_KNOWN, group="short_train", reading=reading)
            if node:
                self.train_step(node, reading)

    def train_step(self, node: Node, reading: Reading) -> None:
        """Reads one step of the training pipeline."""
        match node.kind:
            case "Resize":
                self.fixed(node, "train")
            case "RandomChoiceResize":
                scales = [_sides(scale) for scale in node["scales"]]
                self.longest(node, [long for _, long in scales])
                self.resize |= {"short_train": [short for short, _ in scales], "short_train_mode": "choice"}
                self.method(node)
            case "RandomResize":
                self.random(node)
            case "RandomFlip":
                self.flip(node)
            case "RandomCrop":
                self.crop(node)
            case "LoadAnnotations":
                self.is_polygon = not node["poly2mask"]
            case "LoadProposals":
                self.top_k["train"] = node["num_max_proposals"] or 0
            case "ProposalBroadcaster":
                self.train(node["transforms"], node.at("transforms"), reading)

    def test(self, transforms: Any, path: str, reading: Reading) -> None:
        """Reads the test pipeline."""
        self.has_test = True
        for index, content in enumerate(transforms or []):
            node = open_node(content, path=f"{path}[{index}]", kinds=_KNOWN, group="short_test", reading=reading)
            if node is None:
                continue
            if node.kind == "Resize":
                self.fixed(node, "test")
            elif node.kind == "LoadProposals":
                self.top_k["test"] = node["num_max_proposals"] or 0
            elif node.kind == "ProposalBroadcaster":
                self.test(node["transforms"], node.at("transforms"), reading)
            elif node.kind.startswith("Random"):
                node.mistake("", "changes the images of a test at random")

    def fixed(self, node: Node, phase: str) -> None:
        """A resize to one size."""
        if node["scale"] is None:
            node.mistake("scale", "must be given")
            return
        short, long = _sides(node["scale"])
        self.resize |= {f"short_{phase}": [short] if phase == "train" else short, f"long_{phase}": long}
        self.method(node)

    def method(self, node: Node) -> None:
        """How the shortest side is chosen among several."""
        backend = node["backend"]
        if backend not in ("cv2", "pillow"):
            node.mistake("backend", f"is {backend!r}; known are cv2 and pillow")
        self.resize["method"] = "pillow" if backend == "pillow" else "opencv"

    def random(self, node: Node) -> None:
        """A resize to a random size."""
        scale, ratios = node["scale"], node["ratio_range"]
        self.method(node)
        if ratios is not None:
            short, long = _sides(scale)
            self.resize |= {"short_train": [short], "long_train": long}
            self.augment["scale_jitter"] = tuple(ratios)
            return
        ends = [_sides(end) for end in scale] if scale and isinstance(scale[0], list | tuple) else [_sides(scale)] * 2
        self.longest(node, [long for _, long in ends])
        self.resize |= {"short_train": sorted(short for short, _ in ends), "short_train_mode": "range"}

    def longest(self, node: Node, sides: list[int]) -> None:
        """The bound of the longest side."""
        if len(set(sides)) > 1:
            node.mistake("", f"has several longest sides, {sorted(set(sides))}; one is known")
        self.resize["long_train"] = max(sides)

    def flip(self, node: Node) -> None:
        """Random flips."""
        share, direction = node["prob"], node["direction"]
        directions = [direction] if isinstance(direction, str) else list(direction)
        shares = list(share) if isinstance(share, list | tuple) else [share / len(directions)] * len(directions)
        names = {"horizontal": "flip", "vertical": "vertical_flip"}
        for name, part in zip(directions, shares, strict=False):
            if name not in names:
                node.mistake("direction", f"is {name!r}; known are horizontal and vertical")
            else:
                self.augment[names[name]] = part

    def crop(self, node: Node) -> None:
        """Random crops."""
        kind, size = node["crop_type"], tuple(node["crop_size"])
        if kind in ("absolute", "absolute_range") and (kind == "absolute" or size[0] == size[1]):
            self.augment["crop"] = (size[0], size[1])
        elif kind == "relative_range":
            self.augment["crop_relative"] = size
        else:
            self.report.notes.append(f"training is without the crop {kind} {size}")


def _sides(scale: Any) -> tuple[int, int]:
    """(shortest, longest) of mmdetection's (width, height) in any order."""
    if isinstance(scale, int | float):
        return int(scale), int(scale)
    return int(min(scale)), int(max(scale))
