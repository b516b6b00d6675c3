"""The `boxwright` command: a table of verbs, each imported when it is called, and one place where errors end.

A new verb is a file `boxwright/cli/VERB.py` with `app = typer.Typer(add_completion=False)`, and one row in VERBS. Verb
files import torch, pydantic and the like inside their functions, so that every help page appears at once.
"""

import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from boxwright import __version__
from boxwright.cli.console import print_error
from boxwright.errors import BoxwrightError, escaped

VERBS = {  # verb, which names its module too -> what it does
    "demo": "Make data, and show the whole job on it in a few minutes.",
    "train": "Train a model on a folder of labelled images.",
    "runs": "List and compare trainings.",
    "tune": "Find a learning rate, and anchors that fit the data.",
    "predict": "Find objects in pictures: drawn, and as COCO JSON.",
    "evaluate": "Measure a model, or saved detections, and say what the figures mean.",
    "report": "One page of figures, charts and worst images, to open in any browser.",
    "bench": "Time a model on this machine, beside what the machine could do.",
    "data": "Make, check, convert, count and view data sets.",
    "convert": "Turn configs and checkpoints of other programs into ours, and weights back.",
    "zoo": "List and fetch published models.",
    "config": "Show, compare and describe settings.",
    "doctor": "Say what runs here, how fast, and what is missing.",
}


class LazyVerbs(TyperGroup):
    """Imports a verb's module when the verb is called; the overview is printed from the table alone."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The verbs in the order of the table."""
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command in the verb's module; None where there is no such verb."""
        if cmd_name not in VERBS:
            return None
        command = typer.main.get_command(import_module(f"boxwright.cli.{cmd_name}").app)
        command.name = cmd_name
        return command

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """As Typer's; an unknown verb is answered with the nearest one."""
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            ctx.fail(f"no verb {args[0]!r}{_nearest(args[0])}")
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The overview, of commands that stand for the verbs and import nothing."""
        rows: Any = {name: TyperCommand(name, help=text) for name, text in VERBS.items()}
        overview = TyperGroup(name=self.name, commands=rows, help=self.help, params=self.params)
        overview.format_help(ctx, formatter)


app = typer.Typer(cls=LazyVerbs, add_completion=False, no_args_is_help=False)


@app.callback(invoke_without_command=True)
def overview(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error; works after a verb too.")
    ] = False,
) -> None:
    """The R-CNN family on today's PyTorch: open old checkpoints, train, evaluate, explain, export, serve.

    Example:

      boxwright doctor
    """
    if version:
        print(f"boxwright {__version__}")
    elif ctx.invoked_subcommand is None:
        print(ctx.get_help())


def main() -> None:
    """The installed command. Exit codes: 0 done, 1 bad input or a failure (one line on stderr), 2 wrong usage."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Runs one command line (without the program's name) and returns its exit code. Never raises but for SystemExit."""
    words, is_debugging = _take_debug(arguments)
    try:
        command = typer.main.get_command(app)
        with command.make_context("boxwright", words) as context:
            command.invoke(context)
        sys.stdout.flush()
    except typer.Exit as stop:
        return stop.exit_code
    except BrokenPipeError:  # `boxwright ... | head`: whoever read the output has seen enough
        sys.stdout = None  # or Python complains while it flushes at exit
        return 1
    except (Exception, KeyboardInterrupt) as error:
        if is_debugging:
            print(escaped(traceback.format_exc()), end="", file=sys.stderr)
        message, code = describe_error(error)
        print_error(message)
        return code
    return 0


def describe_error(error: BaseException) -> tuple[str, int]:
    """What to print about `error`, and the exit code."""
    if isinstance(error, BoxwrightError):
        return str(error), 1
    if hasattr(error, "format_message"):  # the command line's own: 2 where the usage is wrong
        return _usage(error), getattr(error, "exit_code", 2)
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return "interrupted", 1
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename is not None else ""
        return f"{place}{error.strerror[0].lower()}{error.strerror[1:]}", 1
    text = " ".join(str(error).split())
    return f"unexpected {type(error).__name__}{text and ': '}{text}; --debug shows the traceback", 1


def _take_debug(arguments: Sequence[str]) -> tuple[list[str], bool]:
    """--debug may stand anywhere before a bare `--`, so that it can be put at the end of a line that failed."""
    end = list(arguments).index("--") if "--" in arguments else len(arguments)
    words = [word for index, word in enumerate(arguments) if word != "--debug" or index > end]
    return words, len(words) < len(arguments)


def _usage(error: Any) -> str:
    message = " ".join(error.format_message().split()).rstrip(".")
    if error.__class__.__name__ == "NoArgsIsHelpError":
        message = "nothing to do"
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "boxwright"
    return f"{message[:1].lower()}{message[1:]} (see `{path} --help`)"


def _nearest(verb: str) -> str:
    import difflib

    close = difflib.get_close_matches(verb, VERBS, n=1)
    return f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(VERBS)}"
