"""The command as people meet it: help at once, one line for an error, exit codes, verbs that exist."""

import importlib.util
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from boxwright import __version__
from boxwright.cli import main as cli
from boxwright.errors import DatasetError

# pydantic is not among them: recent versions of Typer import it themselves
HEAVY = ("torch", "numpy", "boxwright.config", "cv2", "numba", "PIL", "matplotlib", "onnx", "fastapi")


def walk(command, path: tuple[str, ...] = ()):
    """Every command below `command` with its path, groups too."""
    yield path, command
    context = typer.Context(command, info_name=" ".join(("boxwright", *path)))
    for name in getattr(command, "list_commands", lambda _: [])(context):
        yield from walk(command.get_command(context, name), (*path, name))


COMMANDS = list(walk(typer.main.get_command(cli.app)))
IDS = [" ".join(path) or "boxwright" for path, _ in COMMANDS]


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, check=False, env=os.environ | environment
    )


def raise_error(error: BaseException):
    def command() -> None:
        raise error

    return command


@pytest.fixture
def verb(monkeypatch):
    """Registers a verb whose function is given; calling the result runs it through `run`."""

    def install(function):
        app = typer.Typer(add_completion=False)
        app.command()(function)
        module = type(sys)("boxwright.cli.trial")
        module.app = app
        monkeypatch.setitem(sys.modules, "boxwright.cli.trial", module)
        monkeypatch.setitem(cli.VERBS, "trial", "A verb for tests.")

    return install


@pytest.mark.parametrize("name", cli.VERBS)
def test_every_verb_of_the_table_has_a_module(name):
    assert importlib.util.find_spec(f"boxwright.cli.{name}") is not None


def test_every_module_with_an_app_is_in_the_table():
    modules = {path.stem: path.read_text(encoding="utf-8") for path in Path(cli.__file__).parent.glob("*.py")}
    with_app = {name for name, text in modules.items() if re.search(r"^app = typer\.Typer", text, re.MULTILINE)}
    assert with_app - {"main"} == set(cli.VERBS)


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=IDS)
def test_every_help_has_an_example_whose_options_are_right(path, command):
    assert "Example:" in command.help
    examples = re.findall(r"^ *boxwright (.+?) *$", command.help.partition("Example:")[2].lstrip(" "), re.MULTILINE)
    assert examples
    for example in examples:
        words = shlex.split(example)
        assert tuple(words[: len(path)]) == path
        leaf, used = max(
            ((it, used) for used, it in COMMANDS if tuple(words[: len(used)]) == used), key=lambda it: len(it[1])
        )
        leaf.make_context("boxwright", words[len(used) :])  # raises where an option or argument does not exist


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=IDS)
def test_help_is_printed_and_offers_no_completion_noise(path, command, capsys):
    assert cli.run([*path, "--help"]) == 0
    printed = capsys.readouterr()
    assert "Usage: boxwright" in printed.out
    assert "--install-completion" not in printed.out
    assert printed.err == ""


@pytest.mark.parametrize("path", [path for path, _ in COMMANDS], ids=IDS)
def test_help_imports_nothing_heavy(path):
    code = f"""
import sys
from boxwright.cli.main import run
assert run({[*path, "--help"]!r}) == 0
heavy = [name for name in {HEAVY!r} if name in sys.modules]
sys.exit(f"imported {{heavy}}" if heavy else 0)
"""
    result = python("-c", code)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("path", [(), ("data", "synth")], ids=["boxwright", "data synth"])
def test_help_appears_in_half_a_second(path):
    """In time of the processor, the best of several runs: what the code takes, not what else the machine is doing."""
    times = []
    for _ in range(4):
        before = os.times()
        result = python("-m", "boxwright", *path, "--help")
        after = os.times()
        times.append(after.children_user + after.children_system - before.children_user - before.children_system)
        assert result.returncode == 0
    assert min(times) < 0.5


def test_no_verb_prints_the_overview(capsys):
    assert cli.run([]) == 0
    printed = capsys.readouterr().out
    for name, text in cli.VERBS.items():
        assert name in printed
        assert text.split()[0] in printed


def test_version(capsys):
    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().out == f"boxwright {__version__}\n"


def test_python_dash_m_is_the_same_command():
    result = python("-m", "boxwright", "--version")
    assert (result.returncode, result.stdout) == (0, f"boxwright {__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["dta"], "no verb 'dta'; did you mean 'data'? (see `boxwright --help`)"),
        (["xyz"], f"no verb 'xyz'; there are {', '.join(cli.VERBS)} (see `boxwright --help`)"),
        (["--nope"], "no such option: --nope (see `boxwright --help`)"),
        (["data"], "missing command (see `boxwright data --help`)"),
        (["data", "sinth"], "no such command 'sinth'. Did you mean 'synth'? (see `boxwright data --help`)"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments, message, capsys):
    assert cli.run(arguments) == 2
    assert capsys.readouterr() == ("", f"error: {message}\n")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (DatasetError("train.json: no images"), "train.json: no images"),
        (FileNotFoundError(2, "No such file or directory", "a/b.yaml"), "a/b.yaml: no such file or directory"),
        (PermissionError(13, "Permission denied", "out"), "out: permission denied"),
        (OSError(28, "No space left on device"), "no space left on device"),
        (KeyboardInterrupt(), "interrupted"),
        (typer.Abort(), "interrupted"),
        (RuntimeError("shape\n  mismatch"), "unexpected RuntimeError: shape mismatch; --debug shows the traceback"),
        (KeyError(), "unexpected KeyError; --debug shows the traceback"),
    ],
)
def test_a_failure_is_one_line_and_exit_code_1(error, message, verb, capsys):
    verb(raise_error(error))
    assert cli.run(["trial"]) == 1
    assert capsys.readouterr() == ("", f"error: {message}\n")


@pytest.mark.parametrize("arguments", [["--debug", "trial"], ["trial", "--debug"]])
def test_debug_anywhere_shows_the_traceback_before_the_line(arguments, verb, capsys):
    verb(raise_error(DatasetError("train.json: no images")))
    assert cli.run(arguments) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("Traceback (most recent call last):")
    assert printed.endswith("error: train.json: no images\n")


def test_debug_after_two_dashes_is_an_argument_of_the_verb(verb, capsys):
    def trial(words: list[str]) -> None:
        print(words)

    verb(trial)
    assert cli.run(["trial", "--", "--debug"]) == 0
    assert capsys.readouterr().out == "['--debug']\n"


def test_a_verb_chooses_its_own_exit_code(verb):
    verb(raise_error(typer.Exit(1)))
    assert cli.run(["trial"]) == 1


def test_a_reader_that_stops_early_is_no_error():
    code = "import subprocess, sys; p = subprocess.Popen([sys.executable, '-m', 'boxwright', 'config', 'schema'], "
    code += "stdout=subprocess.PIPE, stderr=subprocess.PIPE); p.stdout.read(1); p.stdout.close(); "
    code += "sys.exit(p.stderr.read().decode())"
    result = python("-c", code)
    assert result.stderr.strip() == ""


def test_the_debug_option_leaves_no_trace_in_what_a_verb_gets(verb, capsys):
    verb(lambda: print("ran"))
    assert cli.run(["trial", "--debug"]) == 0
    assert capsys.readouterr() == ("ran\n", "")
