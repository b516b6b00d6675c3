"""The names of COCO's classes, for models whose source leaves them to the data set."""

from boxwright.config import Config

_IDS = (*range(1, 12), *range(13, 26), 27, 28, *range(31, 45), *range(46, 66), 67, 70, *range(72, 83), *range(84, 91))
COCO_NAMES: tuple[str, ...] = (
    *("person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic light"),
    *("fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow"),
    *("elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee"),
    *("skis", "snowboard", "sports ball", "kite", "baseball bat", "baseball glove", "skateboard", "surfboard"),
    *("tennis racket", "bottle", "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple"),
    *("sandwich", "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch"),
    *("potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell phone"),
    *("microwave", "oven", "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors", "teddy bear"),
    *("hair drier", "toothbrush"),
)
_NAMED = dict(zip(_IDS, COCO_NAMES, strict=True))


def with_coco_names(config: Config, *, weights: str = "") -> Config:
    """The settings of a model of COCO with the names of its classes, where they hold none.

    `weights` are those that the config asks for: torchvision's detectors are published for COCO alone.
    """
    model = config.model
    if model.class_names or not (_is_coco(config) or weights.startswith("torchvision/")):
        return config
    names: list[str] = []
    match model.num_classes:
        case 1:
            names = ["person"]
        case 80:
            names = list(COCO_NAMES)
        case 90:  # torchvision's: the ids themselves, of which ten are nothing
            names = [_NAMED.get(number, f"unused {number}") for number in range(1, 91)]
    return config.with_(model=model.with_(class_names=names))


def _is_coco(config: Config) -> bool:
    """By the name of the validation set: a model that is tuned for other data has other data there."""
    name = config.data.val or config.data.train or ""
    first = name.partition(":")[0].replace("\\", "/").rpartition("/")[2]
    is_person = config.model.num_classes == 1
    known = (
        ("keypoints_coco_", "person_keypoints_")
        if is_person
        else ("coco_20", "instances_val2017", "instances_train2017")
    )
    return first.startswith(known)
