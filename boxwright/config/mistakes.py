"""Turns pydantic's list of errors into sentences: path, value, what is allowed, and the nearest name."""

import difflib
from collections.abc import Iterator
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from boxwright.errors import ConfigError

Checked = TypeVar("Checked", bound=BaseModel)
MOST = 20  # mistakes told at once; a file that is something else altogether may have thousands


def checked(kind: type[Checked], content: Any, *, where: str) -> Checked:
    """`content` as settings of this kind; one ConfigError lists the mistakes in it, up to MOST, after `where`."""
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise _config_error(error.errors(), kind, content, where) from error


def _config_error(details: list[ErrorDetails], root: type[BaseModel], content: Any, where: str) -> ConfigError:
    lines: list[str] = []
    for detail in details[:MOST]:
        line = _sentence(detail, root, content)
        start, expected, rest = line.partition("; expected ")
        if expected and lines and lines[-1].startswith(start + expected):
            lines[-1] += f" or {rest}"  # another arm of a union refuses the same value
        elif line not in lines:
            lines.append(line)
    if len(lines) == 1:
        return ConfigError(f"{where}: {lines[0]}")
    count = f"{len(details)} mistakes in the settings, the first {MOST}:" if details[MOST:] else ""
    return ConfigError("\n  ".join([f"{where}: {count or f'{len(lines)} mistakes in the settings'}", *lines]))


def _known_paths(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every dotted path of the schema, unions spread out."""
    for name, field in model.model_fields.items():
        yield prefix + name
        for part in _models(field.annotation):
            yield from _known_paths(part, f"{prefix}{name}.")


def _nearest_setting(path: str, root: type[BaseModel], siblings: list[str]) -> str:
    """A hint that ends a sentence on an unknown setting: a similar sibling, or the same name elsewhere."""
    parent, _, name = path.rpartition(".")
    close = difflib.get_close_matches(name, siblings, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {'.'.join(filter(None, (parent, close[0])))}?"
    elsewhere = sorted({known for known in _known_paths(root) if known.rpartition(".")[2] == name}, key=len)
    if elsewhere:
        return f"; did you mean {elsewhere[0]}?"
    return f"; there are {', '.join(siblings)}" if siblings else ""


def _sentence(detail: ErrorDetails, root: type[BaseModel], content: Any) -> str:
    path, model = _walk(detail["loc"], root, content)
    value = _shown(detail["input"])
    context = detail.get("ctx", {})
    match detail["type"]:
        case "extra_forbidden":
            siblings = list(model.model_fields) if model else []
            return f"{path}: no such setting (value {value}){_nearest_setting(path, root, siblings)}"
        case "missing":
            return f"{path}: must be given"
        case "literal_error":
            known = context["expected"].replace("'", "")
            return f"{path}: got {value}; expected {known}{_hint(value, known.replace(' or ', ', '))}"
        case "union_tag_invalid":
            value, known = _shown(context["tag"]), context["expected_tags"].replace("'", "")
            return f"{_join(path, 'kind')}: got {value}; expected one of {known}{_hint(value, known)}"
        case "union_tag_not_found":
            return f"{_join(path, 'kind')}: must be given"
        case "too_long":
            return f"{path}: has {context['actual_length'] or 'more'} entries; expected at most {context['max_length']}"
        case "string_too_long":
            return f"{path}: got {value}; expected at most {context['max_length']} characters"
        case "tuple_type":
            return f"{path}: got {value}; expected list"
        case "value_error":
            return f"{path}: {context['error']}" if path else str(context["error"])
        case _:
            message = detail["msg"].removeprefix("Input should be ").removeprefix("a valid ")
            return f"{path}: got {value}; expected {message}"


def _walk(location: tuple[int | str, ...], root: type[BaseModel], content: Any) -> tuple[str, type[BaseModel] | None]:
    """The dotted path of an error without pydantic's union tags, and the settings class its parent is."""
    parts: list[str] = []
    model: type[BaseModel] | None = root
    here = content
    for step in location:
        if isinstance(here, dict) and step not in here and step == here.get("kind"):
            continue  # the tag of a union, which the file does not spell as a step
        if model is not None and isinstance(step, str) and step in model.model_fields:
            inner = here.get(step) if isinstance(here, dict) else None
            field, parts = model.model_fields[step], [*parts, step]
            model, here = _model_for(field, inner), inner
        else:
            if isinstance(step, str) and step.startswith(("constrained-", "literal[", "int", "str")):
                continue  # pydantic's name for one arm of a plain union
            parts = [*parts, _shown_key(step)]
            here = here[step] if isinstance(here, list | tuple) and isinstance(step, int) and step < len(here) else None
            if not (isinstance(here, dict) and model is not None and isinstance(step, int)):
                continue
    return ".".join(parts), model


def _model_for(field: FieldInfo, content: Any) -> type[BaseModel] | None:
    candidates = list(_models(field.annotation))
    if len(candidates) > 1 and isinstance(content, dict):
        candidates = [m for m in candidates if m.model_fields["kind"].default == content.get("kind")]
    return candidates[0] if candidates else None


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) is Annotated:
        yield from _models(get_args(annotation)[0])
    elif get_origin(annotation) is not Literal and (get_origin(annotation) is Union or get_args(annotation)):
        for part in get_args(annotation):
            yield from _models(part)


def _hint(shown: str, known: str) -> str:
    close = difflib.get_close_matches(shown.strip("'"), known.split(", "), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _shown(value: Any) -> str:
    try:
        return _cut(repr(value))
    except (ValueError, RecursionError):  # numbers of thousands of digits, deep nests
        return "something too large to write out"


def _shown_key(key: int | str) -> str:
    text = str(key)
    return _cut(text if text.isprintable() else repr(text))


def _cut(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."


def _join(*parts: str) -> str:
    return ".".join(filter(None, parts))
