"""Texts made of what is hostile in YAML and in Python: pieces in any order, and expressions with operands too large."""

import random
from collections.abc import Sequence

# Words that hostile texts are made of: each repeats, joins, nests or names what is before it.
YAML_PIECES = (
    *(
        "a: &a ",
        "*a",
        "[",
        "]",
        "{",
        "}",
        ", ",
        "- ",
        "? ",
        ": ",
        "<<: *a\n",
        "\n",
        "\n  ",
        "\n    ",
        "'",
        '"',
        "\\",
        "|\n",
        "#",
    ),
    *(
        "!!python/tuple ",
        "!!python/object/apply:eval ",
        "!!set ",
        "!!binary ",
        "!!int ",
        "%TAG !a! x\n",
        "---\n",
        "...",
        "\t",
    ),
    *(
        "1:30",
        "0x" + "f" * 500,
        "9" * 300,
        "2001-99-99",
        ".inf",
        "~",
        "yes",
        "=",
        "&b ",
        "*b",
        "model",
        "MODEL",
        "_BASE_",
    ),
    *("names", "\ufeff", "\u2028", "\x85", "\0", "\ud800", str(2**61 - 1), "[x for x in range(99999)]", "1e400"),
)
PYTHON_PIECES = (
    *(
        "a = ",
        "b = ",
        "\n",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ", ",
        ": ",
        "a",
        "b",
        " + ",
        " * ",
        " ** ",
        " % ",
        " | ",
        " - ",
        " << ",
    ),
    *(
        "range(True, 10**9)",
        "range(99999)",
        " for x in a",
        " for a in b",
        " if x",
        "a.extend(a)",
        "a.insert(0, a)",
        "a += a",
    ),
    *(
        "a[:] = a",
        "a[1:1] = b",
        "del a[0]",
        "str(",
        "max(",
        "sorted(",
        "sum(",
        "dict(",
        "set(",
        "list(",
        "zip(",
        "int(",
        "*a",
    ),
    *(
        "**a",
        "'%9999999d'",
        "'%s'",
        "'{:>{}}'.format(",
        "','.join(",
        ".replace('', a)",
        "f'{a}{b!r}'",
        "f'{a:>9}'",
        "lambda: ",
    ),
    *(
        ".keys()",
        ".items()",
        ".update(a)",
        ".copy()",
        "round(5, -10**9)",
        "10**9",
        "2**4000",
        str(2**61 - 1),
        "-",
        "not ",
    ),
    *(
        " in ",
        " == ",
        "'x' * 99999",
        "[0] * 99999",
        "def f(x):\n return ",
        "f(",
        "import copy\n",
        "copy.deepcopy(a)",
        "model = ",
    ),
    *(
        "_base_ = ",
        "with read_base():\n from .x import *\n",
        "{{$HOME:a}}",
        "from ..common.train import train\n",
        "if a:\n ",
    ),
)


def hostile(chance: random.Random, pieces: Sequence[str]) -> str:
    """Pieces in any order, some many times."""
    words = [chance.choice(pieces) * chance.choice((1, 1, 1, 1, 2, 5, 300)) for _ in range(chance.randint(1, 60))]
    return "".join(words) * chance.choice((1, 1, 1, 20))


def hostile_yaml(chance: random.Random) -> str:
    """Half of it is no YAML, the other half unfolds, nests and repeats, alone or as a value in a config."""
    start = chance.choice(("", "base: mask_rcnn_r50_fpn\ntest: ", "VERSION: 2\nMODEL: ", "model: {type: RPN, a: "))
    return start + hostile(chance, YAML_PIECES)


def hostile_python(chance: random.Random) -> str:
    """Statements, most of which parse: words in any order are seldom Python."""
    lines = [hostile_line(chance) for _ in range(chance.randint(1, 30))]
    return "a = [1]\nb = ['x']\n" + "".join(f"{line}\n" for line in lines) + "model = dict(a=a, b=b)\n"


def hostile_line(chance: random.Random) -> str:
    if chance.random() < 0.2:
        return hostile(chance, PYTHON_PIECES)
    target = chance.choice(("a", "b", "c", "a[0]", "a[:0]", "a.x", "a, b"))
    return f"{target} {chance.choice(('=', '+=', '*=', '|='))} {expression(chance, 0)}"


def expression(chance: random.Random, depth: int) -> str:
    """An expression of what configs may use, with operands that are too large."""
    if depth > 3 or chance.random() < 0.2:
        return chance.choice(OPERANDS)
    form = chance.choice(FORMS)
    return form.replace("X", expression(chance, depth + 1)).replace("Y", expression(chance, depth + 1))


OPERANDS = (
    "a",
    "b",
    "c",
    "1",
    "-1",
    "10**9",
    "99999",
    "2**61",
    "'x'",
    "b'y'",
    "1.5",
    "None",
    "True",
    "()",
    "[]",
    "{}",
    "x",
)
FORMS = (
    *(
        "X + Y",
        "X * Y",
        "X ** Y",
        "X % Y",
        "X | Y",
        "X - Y",
        "X // Y",
        "X in Y",
        "X == Y",
        "X < Y",
        "-X",
        "not X",
        "X[Y]",
    ),
    *("X[Y:]", "X[::Y]", "[X, *Y]", "(X, Y)", "{X: Y}", "{X, Y}", "[Y for x in X]", "{x: Y for x in X}", "f'{X}{Y!r}'"),
    *(
        "X if Y else X",
        "range(X)",
        "range(X, Y)",
        "list(X)",
        "tuple(X)",
        "set(X)",
        "dict(X)",
        "dict(k=X)",
        "str(X)",
        "len(X)",
    ),
    *(
        "min(X)",
        "max(X, Y)",
        "sum(X)",
        "sum(X, Y)",
        "sorted(X)",
        "zip(X, Y)",
        "enumerate(X)",
        "int(X)",
        "float(X)",
        "round(X, Y)",
    ),
    *(
        "X.extend(Y)",
        "X.append(Y)",
        "X.insert(0, Y)",
        "X.pop()",
        "X.update(Y)",
        "X.get(Y)",
        "X.keys()",
        "X.items()",
        "X.copy()",
    ),
    *(
        "X.index(Y)",
        "X.count(Y)",
        "X.remove(Y)",
        "X.setdefault(Y, X)",
        "X.replace(Y, X)",
        "X.split(Y)",
        "X.join(Y)",
        "X.strip(Y)",
    ),
    *("'{}{}'.format(X, Y)", "'%s%d' % (X, Y)", "'%s' % X", "X.startswith(Y)", "abs(X)", "bool(X)", "X.format(Y)"),
)
