"""`--force`, and the rule of every verb that writes: it replaces nothing that it reads, nor what others made."""

import inspect
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer

from boxwright.outputs import writing

ForceOption = Annotated[
    bool, typer.Option("--force", help="Replace files that boxwright did not write, or that were changed since.")
]

Verb = Callable[..., None]


def writes(*outputs: str, reads: Sequence[str]) -> Callable[[Verb], Verb]:
    """Gives a verb the option --force. `outputs` and `reads` name its arguments that are files to write and to read."""

    def decorate(verb: Verb) -> Verb:
        signature = inspect.signature(verb)

        @wraps(verb)
        def guarded(*arguments: Any, force: bool = False, **options: Any) -> None:
            given = signature.bind(*arguments, **options)
            given.apply_defaults()
            paths: list[Path | None] = [given.arguments[name] for name in outputs]
            with writing(*paths, inputs=[given.arguments[name] for name in reads], force=force):
                verb(*arguments, **options)

        option = inspect.Parameter("force", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=ForceOption)
        guarded.__signature__ = signature.replace(parameters=[*signature.parameters.values(), option])  # type: ignore[attr-defined]
        guarded.__annotations__ = {**verb.__annotations__, "force": ForceOption}
        return guarded

    return decorate
