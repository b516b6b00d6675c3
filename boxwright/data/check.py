"""`boxwright data check`: everything that can be wrong with a data set, in one report."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from boxwright.data.annotations import Annotations
from boxwright.data.check_images import PictureFacts, check_copies, check_images, check_unlisted, facts_of_all
from boxwright.data.check_objects import check_classes, check_objects
from boxwright.data.formats.reading import read_all_splits
from boxwright.data.problems import HARMLESS, KINDS, Problem, Problems


@dataclass(frozen=True)
class CheckReport:
    """`pictures`, by split and image, is empty where the pictures were not opened."""

    splits: dict[str, Annotations]
    pictures: dict[str, list[PictureFacts]]
    problems: Problems

    @property
    def is_clean(self) -> bool:
        """Nothing was found that spoils training or evaluation."""
        return all(problem.kind in HARMLESS for problem in self.problems)

    def plain(self, *, examples: int = 3) -> dict[str, Any]:
        """For --json: counts by kind with the first examples of each."""
        kinds = {
            kind: {
                "count": count,
                "meaning": KINDS[kind],
                "harmless": kind in HARMLESS,
                "examples": [problem.plain() for problem in self.problems.of(kind)[:examples]],
            }
            for kind, count in self.problems.counts().items()
        }
        splits = {
            name: {"images": len(annotations), "objects": annotations.num_objects, "format": annotations.format}
            for name, annotations in self.splits.items()
        }
        return {"clean": self.is_clean, "splits": splits, "problems": kinds}


def check_dataset(
    source: str | Path,
    *,
    root: str | Path | None = None,
    with_images: bool = True,
    on_start: Callable[[int], Callable[[], None]] = lambda total: lambda: None,
) -> CheckReport:
    """Reads every split of a folder, file or known name. `with_images` decodes each picture once.

    `on_start` gets the number of pictures and gives a function to call after each.
    """
    splits = read_all_splits(source, root=root, use_index=False)
    problems = Problems()
    for name, annotations in splits.items():
        problems.extend(
            Problem(kind=found["kind"], place=found["place"], detail=found["detail"], split=name)
            for found in annotations.problems
        )
        check_objects(name, annotations, problems)
    check_classes(splits, problems)
    pictures: dict[str, list[PictureFacts]] = {}
    if with_images:
        advance = on_start(sum(len(annotations) for annotations in splits.values()))
        for name, annotations in splits.items():
            pictures[name] = facts_of_all(annotations, advance)
            check_images(name, annotations, pictures[name], problems)
        check_copies(splits, pictures, problems)
        check_unlisted(splits, problems)
    return CheckReport(splits, pictures, problems)
