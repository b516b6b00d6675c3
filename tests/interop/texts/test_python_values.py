"""Expressions of configs worked out by their syntax: what Python would give, or an error with the line."""

import pytest

from boxwright.errors import ConfigError
from boxwright.interop.texts.json_values import parse_settings
from boxwright.interop.texts.python_values import is_python, literal
from boxwright.interop.texts.unfolded import check_unfolded, unfolded_size
from boxwright.interop.texts.work import Work
from boxwright.interop.texts.yaml_values import parse_yaml

SAME = [  # texts whose value is that of Python itself
    "1 + 2 * 3 - 4 / 5 // 1 % 3",
    "-2 ** 2",
    "[x * y for x in range(3) for y in (1, 2) if x != y]",
    "{k: v for k, v in zip('ab', [1, 2])}",
    "dict(a=1, **{'b': 2})",
    "[*range(3), *(4, 5)]",
    "'a' 'b' + 'c' * 2",
    "f'{1 + 1}_{\"x\"}'",
    "'%s-%d' % ('a', 3)",
    "'a,b'.split(',')",
    "'-'.join(['a', 'b'])",
    "[1, 2, 3][-1] + (4, 5)[0]",
    "[1, 2, 3, 4][1:3]",
    "1 if 2 > 1 else 0",
    "1 < 2 <= 2 != 3",
    "not True or False and True",
    "None is None and 1 in [1]",
    "max(1, 2) + min([3, 4]) + len('abc') + sum([1, 2])",
    "sorted([3, 1, 2])[0] + abs(-1) + round(1.6) + int('7') + int(2.5)",
    "tuple(i for i in [1, 2])",
    "{'a': [1, {'b': (2, 3)}]}['a'][1]['b'][1]",
    "'http://{}/{0}'.replace('{0}', '{}').format('a', [1])",
    "'{a}'.format(a={'b': (1, 2)})",
    "f'{[1]!r}{\"é\"!a}'",
    "'%s%%' % 5",
    "{'a': 1} | {'a': 2, 'b': 3}",
    "{1, 2, 3} - {2}",
    "{1} | {2}",
    "dict([('a', 1)], b=2)",
    "list({'a': 1}.items())",
    "sum([[1], [2, 3]], [])",
    "round(2.345, 2) + round(1234, -2)",
    "list(range(5))[::-2]",
    "list(zip([1, 2], 'ab'))",
    "list(enumerate('ab', 1))",
    "int('ff', 16) + int(True)",
    "'a-b'.strip('ab') + 'x'.upper()",
    "2 ** -1 + 2 ** 10",
    "1e-3, 0x10, 1_000, b'x', ...",
]


@pytest.mark.parametrize("text", SAME[:-1])
def test_an_expression_has_pythons_value(text):
    assert literal(text, source="c.py", work=Work()) == eval(text)  # the texts above are this file's own


REFUSED = [
    "open('x')",
    "__import__('os')",
    "().__class__",
    "(lambda: 0)()",
    "[].__len__()",
    "'{0.__class__}'.format(1)",
    "f'{1:>9}'",
    "x",
    "await x",
    "(yield)",
    "(x := 1)",
    "1 / 0",
    "[1][5]",
    "{}['a']",
    "int('x')",
    "9 ** 9 ** 9",
    "'x' * 10 ** 9",
    "[0] * 10 ** 9",
    "range(10 ** 9)",
    "1 << 10",
    "[" * 100 + "]" * 100,
    "range(True, 10 ** 9)",
    "range(10 ** 30)",
    "round(5, -10 ** 9)",
    "(-8) ** 0.5",
    "str(b'x', 'idna')",
    "'%9d' % 1",
    "'{:>9}'.format(1)",
    "1j",
]


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_code_wrong_or_too_large_is_an_error_with_the_line(text):
    with pytest.raises(ConfigError, match=r"^c\.py"):
        literal(text, source="c.py", work=Work())


CHARGED = [  # an expression, and the fewest steps that it may take
    ("[0] * 150_000", 150_000 / 32),
    ("'x' * 150_000", 150_000 / 64),
    ("range(100_000)", 100_000 / 4),
    ("max([0] * 100_000)", 100_000 / 4),
    ("{number * (2 ** 61 - 1): 0 for number in range(500)}", 500 * 500 / 64),
    ("5 in [0] * 100_000", 100_000 / 4),
    ("f\"{'x' * 100_000}\"", 100_000 / 64),
]


@pytest.mark.parametrize(("text", "steps"), CHARGED)
def test_a_result_costs_by_its_size(text, steps):
    work = Work()
    literal(text, source="c.py", work=work)
    assert work.steps > steps


def test_the_expressions_of_one_config_share_what_they_may_cost():
    work = Work()
    for _ in range(3):
        literal("[0 for _ in range(9_000)]", source="c.py", work=work)
    with pytest.raises(ConfigError, match="takes too many steps to work out"):
        literal("[0 for _ in range(9_000)]", source="c.py", work=work)


JSON = [
    ('{"a": [1, 1e-3, null, true]}', {"a": [1, 0.001, None, True]}),
    ('{"a": "\\ud83d\\ude00"}', {"a": "\U0001f600"}),
    ("{a: 1}", {"a": 1}),  # YAML
]


@pytest.mark.parametrize(("text", "value"), JSON)
def test_json_has_its_own_numbers(text, value):
    assert parse_settings(text, source="c.json") == value


BAD_JSON = [
    ('{"a": 1, "a": 2}', "the key 'a' stands twice"),
    ('{"a": NaN}', "NaN is no number of JSON"),
    ('{"a": %s}' % ("9" * 500), "a number of 500 digits is too large"),
    ('{"a": %s}' % ("[" * 70 + "]" * 70), "nested too deeply"),
    ('{"a": %s}' % ("[" * 5_000 + "]" * 5_000), "nested too deeply"),
    ('{"a": [%s 1]}' % ("1," * 50_000), "more than 50000 values"),
    ('{"a": 1,', r"c\.json:\d+: not readable as YAML"),
    ('{"secret word": 1}', "its keys are no names of settings"),
]


@pytest.mark.parametrize(("text", "message"), BAD_JSON)
def test_json_that_is_too_much_or_wrong_is_an_error(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_settings(text, source="c.json")


def test_sizes_are_counted_as_a_walk_meets_them():
    inner = [1, 2]
    assert unfolded_size([]) == 1
    assert unfolded_size([inner, inner]) == 7  # the outer list, and twice a list with two numbers
    assert unfolded_size({"a": inner, "b": 3}) == 7  # two keys, a list with two numbers, a number
    assert unfolded_size(["x" * 800]) == 102
    endless = [1]
    endless.append(endless)
    assert unfolded_size(endless) > 200_000
    with pytest.raises(ConfigError, match="c: holds more than 200000 values"):
        check_unfolded(endless, source="c")


@pytest.mark.parametrize(
    ("text", "is_so"),
    [("", False), ("a: 1", False), ("a = 1", True), ("import x", True), ("a.b = 1", True), ('{"a": "b = 1"}', False)],
)
def test_python_is_told_from_yaml_and_json(text, is_so):
    assert is_python(text) is is_so


YAML = [
    ("a: 1", {"a": 1}),
    ("a: !!python/tuple [1, 2]", {"a": (1, 2)}),
    ("a: !!python/unicode 'x'", {"a": "x"}),
    ("a: !!python/object/apply:eval ['[x * 2 for x in [1, 2]]']", {"a": [2, 4]}),
    ("a: &x [1]\nb: *x", {"a": [1], "b": [1]}),
    ("a: &x {p: 1}\nb:\n  <<: *x\n  q: 2", {"a": {"p": 1}, "b": {"p": 1, "q": 2}}),
    ("a: 1e3\nb: 1.5e-2", {"a": "1e3", "b": 0.015}),  # YAML 1.1 asks for a dot
    ("a: 1:30\nb: 1:30.5", {"a": 90, "b": 90.5}),  # of base 60, as PyYAML reads it
    ("a: 1\na: 2", {"a": 2}),
    ("a: yes\nb: null\nc: 2017-01-01", {"a": True, "b": None, "c": "2017-01-01"}),
]


@pytest.mark.parametrize(("text", "value"), YAML)
def test_yaml_has_the_value_that_the_originals_give_it(text, value):
    assert parse_yaml(text, source="c.yaml") == value


BAD_YAML = [
    ("a: !!python/object/apply:os.system ['true']", "python/object/apply:os.system is code, never run here"),
    ("a: !!python/object/new:subprocess.Popen [x]", "is code"),
    ("a: !!python/object/apply:eval ['open(\"x\")']", "calls open"),
    ("a: [1", r"c\.yaml:\d+: not readable as YAML"),
    ("a: *x", r"\*x refers to nothing|undefined alias"),
    ("a: 1\n---\nb: 2", "a second document"),
    ("? [a]\n: 1", "a key must be a name"),
]


@pytest.mark.parametrize(("text", "message"), BAD_YAML)
def test_yaml_that_is_code_or_wrong_is_an_error(text, message):
    with pytest.raises(ConfigError, match=message):
        parse_yaml(text, source="c.yaml")
