"""The settings of a published model, without any file: its source's config written out and translated as any other."""

from boxwright.config import Config
from boxwright.errors import ConfigError
from boxwright.interop.detectron.config import read_detectron
from boxwright.interop.detectron2.config import read_detectron2
from boxwright.interop.detectron2.lazy_config import read_lazy_tree
from boxwright.interop.mmdetection.bases import zoo_file
from boxwright.interop.mmdetection.config import translate_mmdetection
from boxwright.interop.tables.keys import ConfigReport
from boxwright.interop.torchvision.config import read_torchvision
from boxwright.interop.zoo.detectron2_configs import detectron2_content
from boxwright.interop.zoo.detectron2_lazy_configs import is_new_baseline, new_baseline_tree
from boxwright.interop.zoo.detectron_configs import detectron_content
from boxwright.interop.zoo.models import find_model


def is_published(name: str) -> bool:
    """Whether `name` has the prefix of a source whose published models are known."""
    return name.startswith(("detectron/", "detectron2/", "mmdet/", "torchvision/"))


def read_published(name: str) -> tuple[Config, ConfigReport]:
    """`name` as in `boxwright zoo list`. A backbone has no config of its own."""
    model = find_model(name)
    if model.family == "backbone":
        raise ConfigError(f"{model.name} is a backbone, not a detector; use it as the weights to start a training from")
    _, _, rest = model.name.partition("/")
    match model.source:
        case "detectron":
            return read_detectron(detectron_content(rest), source=model.name)
        case "detectron2" if is_new_baseline(rest):
            return read_lazy_tree(new_baseline_tree(rest), source=model.name)
        case "detectron2":
            return read_detectron2(detectron2_content(rest), source=model.name)
        case "torchvision":
            return read_torchvision(rest.partition("/")[0], source=model.name)
    settings = zoo_file(rest)
    if settings is None:
        raise ConfigError(f"{model.name}: the name tells no config; give the config's file as well")
    return translate_mmdetection(settings, source=model.name)
