"""Names of weights there and here, as tables of template pairs that work both ways.

A pair such as ("backbone.res{l}.{b}.conv{i}.{*p}", "backbone.c{l}.{b}.conv{i}.{*p}") renames in either direction, so
what is read can be written back by the same table. In a template

    {x}            is a number; {x+1}, {2x} or {3x+1} is the number that stands there when x has its value
    {*p}           is a parameter: weight, bias, or a norm's statistics
    {*c}           is any other single word

A pair whose second half is None is a key known and dropped on purpose. The first pair that fits a whole key is used.
"""

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from boxwright.errors import WeightsError

WRITING = "writing for"  # stands before the source's name in errors on the way out
State = dict[str, Tensor]
Pair = tuple[str, str | None]

_PLACE = re.compile(r"\{(\*|\d*)([a-z])([+-]\d+)?\}")
_PARAMETER = "weight|bias|running_mean|running_var|num_batches_tracked"


@dataclass(frozen=True)
class Names:
    """The table of one source. `source` names it in errors."""

    source: str
    pairs: tuple[Pair, ...]

    def to_ours(self, state: Mapping[str, Tensor]) -> State:
        """Foreign names -> ours; a key that fits no pair is an error that names it."""
        return _rename(state, self._readers, source=self.source)

    def from_ours(self, state: Mapping[str, Tensor]) -> State:
        """Our names -> the source's."""
        return _rename(state, self._writers, source=f"{WRITING} {self.source}")

    def knows(self, key: str) -> bool:
        """Whether a name of the source fits one of the pairs."""
        return any(rule.apply(key)[0] for rule in self._readers)

    @cached_property
    def _readers(self) -> "list[_Rule]":
        return [_Rule(theirs, ours) for theirs, ours in self.pairs]

    @cached_property
    def _writers(self) -> "list[_Rule]":
        return [_Rule(ours, theirs) for theirs, ours in self.pairs if ours is not None]


class _Rule:
    """One pair in one direction."""

    def __init__(self, source: str, target: str | None) -> None:
        self.pattern = re.compile(_pattern(source))
        self.target = target
        self.places = {name: (star, offset) for star, name, offset in _PLACE.findall(source)}

    def apply(self, key: str) -> tuple[bool, str | None]:
        """Whether the key fits, and its new name."""
        match = self.pattern.fullmatch(key)
        if match is None:
            return False, None
        values: dict[str, str | int] = {}
        for name, (factor, offset) in self.places.items():
            if factor == "*":
                values[name] = match[name]
                continue
            number, remainder = divmod(int(match[name]) - int(offset or 0), int(factor or 1))
            if remainder or number < 0:
                return False, None
            values[name] = number
        if self.target is None:
            return True, None
        return True, _PLACE.sub(lambda place: _written(place, values[place[2]]), self.target)


def _written(place: re.Match[str], value: str | int) -> str:
    factor, _, offset = place.groups()
    return value if isinstance(value, str) else str(int(factor or 1) * value + int(offset or 0))


def _pattern(template: str) -> str:
    """A template as a regular expression with one named group per place."""
    parts, end = [], 0
    for place in _PLACE.finditer(template):
        star, name, _ = place.groups()
        inner = r"\d+" if star != "*" else (_PARAMETER if name == "p" else r"[A-Za-z_]\w*")
        parts += [re.escape(template[end : place.start()]), f"(?P<{name}>{inner})"]
        end = place.end()
    return "".join([*parts, re.escape(template[end:])])


def _rename(state: Mapping[str, Tensor], table: list[_Rule], *, source: str) -> State:
    renamed: State = {}
    origin: dict[str, str] = {}
    unknown: list[str] = []
    for key, tensor in state.items():
        fits, name = next((result for rule in table if (result := rule.apply(key))[0]), (False, None))
        if not fits:
            unknown.append(key)
        elif name in origin:
            raise WeightsError(f"{source}: {key!r} and {origin[name]!r} both mean {name!r}; keep one of them")
        elif name is not None:
            renamed[name], origin[name] = tensor, key
    if unknown:
        raise WeightsError(_unknown_message(unknown, list(state), source))
    return renamed


def _unknown_message(unknown: list[str], keys: list[str], source: str) -> str:
    rows = len(keys)
    strangers = set(unknown)
    known = [key for key in keys if key not in strangers]
    close = difflib.get_close_matches(unknown[0], known, n=1)
    hint = f" (nearest known: {close[0]!r})" if close else ""
    if source.startswith(WRITING):
        return f"{source}: it has no place for {len(unknown)} of {rows} weights, first: {unknown[0]!r}"
    return (
        f"{source}: {len(unknown)} of {rows} weights are unknown, first: {unknown[0]!r}{hint}; "
        "is this a model of the R-CNN family?"
    )


def count(keys: Iterable[str], template: str) -> int:
    """How many different first numbers the keys that fit `template` have: of levels, of stages, ..."""
    pattern = re.compile(_pattern(template))
    return len({match[1] for key in keys if (match := pattern.fullmatch(key))})


def change(state: State, endings: tuple[str, ...], function: Callable[[Tensor], Tensor]) -> None:
    """Applies `function` to each weight whose name ends so."""
    for name in [name for name in state if name.endswith(endings)]:
        state[name] = function(state[name])
