"""`MetadataCatalog`: what is known of a data set by its name."""

from types import SimpleNamespace

from boxwright.interop.tables.coco_names import COCO_NAMES


class _MetadataCatalog:
    def __init__(self) -> None:
        self._known: dict[str, SimpleNamespace] = {}

    def get(self, name: str) -> SimpleNamespace:
        """The same object at each call; one's own attributes (`thing_classes`) may be set on it."""
        if name not in self._known:
            self._known[name] = _metadata(name)
        return self._known[name]


def _metadata(name: str) -> SimpleNamespace:
    if name.startswith("keypoints_coco_"):
        return SimpleNamespace(name=name, thing_classes=["person"])
    if name.startswith("coco_"):
        return SimpleNamespace(name=name, thing_classes=list(COCO_NAMES))
    return SimpleNamespace(name=name)


MetadataCatalog = _MetadataCatalog()
