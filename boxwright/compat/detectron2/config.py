"""`get_cfg()`: Detectron2's tree of settings with its defaults, to be changed by files, lists and assignments."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from boxwright.config import Config
from boxwright.errors import ConfigError
from boxwright.interop.detectron2.config import detectron2_settings, read_detectron2
from boxwright.interop.detectron2.keys import KEYS
from boxwright.interop.tables.coco_names import with_coco_names
from boxwright.interop.tables.keys import leaves, put, tree_of
from boxwright.interop.tables.yacs import coerce, decode
from boxwright.interop.texts.config_files import read_text
from boxwright.interop.texts.json_values import parse_settings
from boxwright.interop.zoo.detectron2_configs import detectron2_content
from boxwright.interop.zoo.models import is_model_name

PUBLISHED = "detectron2/"  # before the names that `model_zoo.get_config_file` gives


class CfgNode(dict[str, Any]):
    """Nested settings with attribute access; a name that Detectron2 does not have is an error at once."""

    def __init__(self, content: Mapping[str, Any], *, path: str = "") -> None:
        super().__init__({name: _node(value, f"{path}{name}.") for name, value in content.items()})
        self.__dict__["_path"] = path
        self.__dict__["_frozen"] = False

    def __reduce__(self) -> Any:
        return _rebuilt, (plain(self), self._path, self._frozen)

    def __getattr__(self, name: str) -> Any:
        if name not in self:
            raise AttributeError(f"there is no setting {self._path}{name}; there are {', '.join(self)}")
        return self[name]

    def __setattr__(self, name: str, value: Any) -> None:
        if self._frozen:
            raise AttributeError(f"{self._path}{name}: these settings are frozen; call defrost() first")
        default = _DEFAULTS.get(f"{self._path}{name}", value)
        changed, problem = coerce(value, default)
        if problem or (isinstance(self.get(name), CfgNode) and not isinstance(value, Mapping)):
            raise ConfigError(f"{self._path}{name}: {problem or 'is a group of settings'}")
        self[name] = _node(changed, f"{self._path}{name}.")

    def merge_from_file(self, cfg_filename: str | Path, allow_unsafe: bool = False) -> None:
        """A YAML file with its bases, or what `model_zoo.get_config_file` gives. `allow_unsafe` has no effect."""
        name = str(cfg_filename)
        if name.startswith(PUBLISHED) and is_model_name(name) and not Path(name).exists():
            self._merge(detectron2_content(_without_ending(name)), source=name, path=None)
            return
        path = Path(cfg_filename)
        content = parse_settings(read_text(path), source=name)
        self._merge(content, source=name, path=path)

    def merge_from_list(self, cfg_list: Sequence[Any]) -> None:
        """["MODEL.WEIGHTS", "model.pkl", "SOLVER.BASE_LR", 0.01]"""
        if len(cfg_list) % 2:
            raise ConfigError(f"a list of names and values has {len(cfg_list)} entries; expected an even number")
        for name, value in zip(cfg_list[0::2], cfg_list[1::2], strict=True):
            *parents, leaf = str(name).split(".")
            node: Any = self
            for parent in parents:
                node = node.__getattr__(parent)
            if leaf not in node:
                raise ConfigError(f"there is no setting {name}; {node._path or 'the top'} has {', '.join(node)}")
            node.__setattr__(leaf, decode(value))

    def clone(self) -> "CfgNode":
        """A copy of this group and all below it, frozen where this is."""
        return copy.deepcopy(self)

    def freeze(self) -> None:
        """From now on assigning an attribute is an AttributeError, here and in groups below; setting an item is not."""
        self._set_frozen(True)

    def defrost(self) -> None:
        """Attributes can be assigned again, here and in all groups below."""
        self._set_frozen(False)

    def is_frozen(self) -> bool:
        """Whether assigning an attribute is an AttributeError."""
        return bool(self._frozen)

    def dump(self) -> str:
        """As YAML."""
        return yaml.safe_dump(_without_tuples(plain(self)), sort_keys=True)

    def _merge(self, content: Mapping[str, Any], *, source: str, path: Path | None) -> None:
        settings, mistakes = detectron2_settings(content, source=source, path=path)
        mistakes.raise_if_any()
        for name in settings.given:
            self.merge_from_list([name, settings[name]])

    def _set_frozen(self, is_frozen: bool) -> None:
        self.__dict__["_frozen"] = is_frozen
        for value in self.values():
            if isinstance(value, CfgNode):
                value._set_frozen(is_frozen)


def get_cfg() -> CfgNode:
    """Detectron2's defaults."""
    return CfgNode(tree_of(KEYS))


def to_config(cfg: CfgNode) -> Config:
    """Our settings of the same model."""
    return with_coco_names(read_detectron2(plain(cfg), source="cfg")[0])


def plain(cfg: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dictionaries with the same values."""
    content: dict[str, Any] = {}
    for path, value in leaves(cfg):
        put(content, path, {} if isinstance(value, CfgNode) else value)
    return content


_DEFAULTS = {key.path: key.default for key in KEYS}


def _rebuilt(content: Mapping[str, Any], path: str, is_frozen: bool) -> CfgNode:
    node = CfgNode(content, path=path)
    node._set_frozen(is_frozen)
    return node


def _node(value: Any, path: str) -> Any:
    return CfgNode(value, path=path) if isinstance(value, Mapping) else value


def _without_ending(name: str) -> str:
    return name.removeprefix(PUBLISHED).removesuffix(".yaml")


def _without_tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_tuples(item) for name, item in value.items()}
    return [_without_tuples(item) for item in value] if isinstance(value, list | tuple) else value
