"""`boxwright config`: settings shown, compared and described."""

from typing import Annotated, Any

import typer

from boxwright.cli.console import print_json
from boxwright.cli.options import JsonOption

app = typer.Typer(add_completion=False)

SourceArgument = Annotated[
    str, typer.Argument(help="A preset, a published model, or a config of any known program.", show_default=False)
]
OverridesArgument = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Changes, such as train.lr=0.01.", show_default=False),
]


@app.callback()
def config() -> None:
    """Show, compare and describe settings.

    Example:

      boxwright config list
    """


@app.command("list")
def list_presets(as_json: JsonOption = False) -> None:
    """List the names of the presets.

    Example:

      boxwright config list
    """
    from boxwright.config import preset_names

    names = preset_names()
    if as_json:
        print_json(list(names))
    else:
        print("\n".join(names))


@app.command()
def show(source: SourceArgument, overrides: OverridesArgument = None, as_json: JsonOption = False) -> None:
    """Print all settings of a preset or of any program's config as YAML, after changes: to start one's own from.

    Example:

      boxwright config show mask_rcnn_r50_fpn test.score_threshold=0.1
    """
    from boxwright.config import dump
    from boxwright.interop.config import read_config

    settings = read_config(source, overrides or [])
    if as_json:
        print_json(settings.model_dump(mode="json"))
    else:
        print(dump(settings), end="")


@app.command()
def schema() -> None:
    """Print the JSON schema of the settings, with which editors check and complete YAML files.

    Example:

      boxwright config schema
    """
    from boxwright.config import json_schema

    print_json(json_schema())


@app.command()
def diff(
    a: SourceArgument,
    b: Annotated[str, typer.Argument(help="Another one.", show_default=False)],
    as_json: JsonOption = False,
) -> None:
    """Print each setting in which two presets or configs differ, with the value in A and the value in B.

    Each may be of another program: both are read as settings of ours, by the names of which the lines are printed.

    Example:

      boxwright config diff mask_rcnn_r50_fpn faster_rcnn_r50_fpn
    """
    from boxwright.config import diff as difference
    from boxwright.interop.config import read_config

    changes = difference(read_config(a), read_config(b))
    if as_json:
        print_json([{"path": path, "a": left, "b": right} for path, left, right in changes])
    elif changes:
        print("\n".join(f"{path}: {_plain(left)} -> {_plain(right)}" for path, left, right in changes))
    else:
        print("no differences")


def _plain(value: Any) -> str:
    import json

    return json.dumps(value)
