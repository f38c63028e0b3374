"""The tool that seeds faults: what it changes, what it leaves alone, and who is said to have noticed."""

import ast
import json
import subprocess

import pytest
from conftest import ROOT

import faults.runner
from faults.__main__ import main
from faults.operators import faults as faults_of

SOURCE = '''
"""Takes the min of a test."""
from os import path

__all__ = ["Split"]

class Split:
    """0 or 1."""

    ratio: float = 0.5

    def part(self, rows: list[int], last: bool = False) -> dict[str, int] | None:
        """Not 2."""
        assert len(rows) > 1, "3"
        if not rows:
            raise ValueError(f"no rows: {rows[0]}")
        warn(f"{rows[0] + 1}", 4)
        return rows[3:]
'''


def test_every_fault_of_a_class_and_nothing_else():
    made = faults_of("split.py", SOURCE)
    head = "def part(self, rows: list[int], last: bool={}) -> dict[str, int] | None:"
    assert [(each.ranges[0][0], each.scope, each.operator, each.before, each.after) for each in made] == [
        (10, "Split", "constant", "ratio: float = 0.5", "ratio: float = 1.0"),
        (12, "Split.part", "constant", head.format(False), head.format(True)),
        (16, "Split.part", "if never", "raise ValueError(f'no rows: {rows[0]}')", "pass"),
        (15, "Split.part", "sign dropped", "if not rows:", "if rows:"),
        (17, "Split.part", "statement dropped", "warn(f'{rows[0] + 1}', 4)", "pass"),
        (18, "Split.part", "nothing returned", "return rows[3:]", "return None"),
        (18, "Split.part", "slice", "return rows[3:]", "return rows[:]"),
        (18, "Split.part", "constant", "return rows[3:]", "return rows[4:]"),
    ]
    assert made[1].ranges == ((12, 12), (12, 18), (7, 18), (1, 10**9))  # head, function, class, file
    assert made[-1].text() == ast.unparse(ast.parse(SOURCE)).replace("rows[3:]", "rows[4:]")


@pytest.mark.parametrize(
    ("code", "after"),
    {
        "x = a < b": ["a <= b", "a > b"],
        "x = a != b is not c": ["a == b is not c", "a != b is c"],
        "x = a - b / c": ["a + b / c", "a - b * c"],
        "x = 'a' + b + [c]": ["'a' + b + []"],
        "x = a | b": ["b | a"],
        "x = a and b": ["a or b", "b", "a"],
        "x = a if b else c": ["a", "c"],
        "x = [0, 1.5, True]": [
            *("[1.5, True]", "[0, True]", "[0, 1.5]"),
            *("[1, 1.5, True]", "[0, 3.0, True]", "[0, 1.5, False]"),
        ],
        "x = a[-1]": ["a[0]", "a[1]", "a[-2]", "a[-0]"],
        "x = a[b:c]": ["a[:c]", "a[b:]"],
        "x = {a: b, **c}": ["{**c}", "{a: b}"],
        "x = (a, b, *c)": ["(b, a, *c)"],
        "x = a in (b, c)": ["a not in (b, c)", "a in (c,)", "a in (b,)"],
        "x = f(a, b, c=d, **e)": ["f(a, b, **e)", "f(a, b, c=d)", "f(b, a, c=d, **e)"],
        "x = f(a, color=b)": [],
        "x = f(a, strict=True)": [],
        "x = f(a, strict=False)": ["f(a)", "f(a, strict=True)"],
        "x = max(a, b)": ["min(a, b)"],
        "x = a.detach()": ["a"],
        "x = [a for a in b if c]": ["[a for a in b]"],
        "x = cast(Optional[a], b)": [],
        "x = 'a test of words'": [],
        "x = student.a(y.teacher, last)": ["teacher.a(y.teacher, last)", "student.a(y.student, last)"],
    }.items(),
)
def test_expressions(code, after):
    names = ["student.a(last, y.teacher)"] if "student" in code else []  # no first to take for last
    made = [each.after.removeprefix("x = ") for each in faults_of("x.py", code)]
    wanted = [ast.unparse(ast.parse(text.strip())) for text in after + names]
    assert sorted(made) == sorted(wanted)


@pytest.mark.parametrize(
    ("code", "after"),
    {
        "self.a = b": ["pass"],
        "a = b": [],
        "a += b": ["pass", "a = b", "a -= b"],
        "f()": ["pass"],
        "if a:\n    f()\n    g()\nelse:\n    h()": ["pass", "", "pass", "pass", "pass", "if True:", "if not a:"],
        "with a():\n    f()": ["if True:", "pass"],
        "with a() as b:\n    f()": ["pass"],
        "for a in b:\n    continue": ["pass"],
        "raise NotImplementedError": [],
        "@cache\n@property\ndef f():\n    return": ["", "pass"],
        "class A:\n    a = b": ["pass"],
        "try:\n    f()\nexcept (A, B):\n    raise": ["pass", "except (B,):", "except (A,):", "pass"],
    }.items(),
)
def test_statements(code, after):
    assert sorted(each.after for each in faults_of("x.py", code)) == sorted(after)


def test_equal_faults_are_counted():
    assert [each.number for each in faults_of("x.py", "f()\nf()\n")] == [0, 1]


def test_faults_of_a_real_file_are_programs_that_keep_documentation_and_types():
    source = (ROOT / "lightning_tasks/losses/cross_entropy.py").read_text()

    def kept(text):
        nodes = list(ast.walk(ast.parse(text)))
        texts = [ast.get_docstring(node) for node in nodes if isinstance(node, ast.ClassDef | ast.FunctionDef)]
        return texts, [ast.unparse(node.annotation) for node in nodes if isinstance(node, ast.arg) and node.annotation]

    made = faults_of("x.py", source)
    texts = [each.text() for each in made]
    assert len(set(texts)) == len({each.key for each in made}) == len(made) > 20
    assert ast.unparse(ast.parse(source)) not in texts
    assert all(kept(text) == kept(source) for text in texts)


SHOP = """
RATE = 2

def price(count):
    total = count * RATE
    while total < 3:
        total += 1
    return total

def label(name):
    return name.title() + suffix(".")

def suffix(mark):
    return mark + "."[1:]

def unused():
    return 5
"""
TESTS = """
import os, subprocess, sys, time
import shop

seen = []

def test_price():
    time.sleep(0.1)
    assert shop.price(4) == 8
    assert shop.price(1) == 3

def test_price_is_wrong():
    assert shop.price(4) == 9

def test_needs_another():
    seen.append(shop.price(5))

def test_needs_that_one():
    assert seen and shop.price(0)

def test_in_a_process():
    shown = subprocess.check_output([sys.executable, "-c", "import shop; print(shop.label('a'))"], text=True)
    assert shown == "A.\\n"
"""


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A project with code that tests run in process, in another process, not at all; what git ignores is not copied."""
    for name, text in {"shop.py": SHOP, "tests/test_shop.py": TESTS, ".gitignore": "left/"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "left").mkdir()
    subprocess.run(["git", "init", "--quiet"], check=True)
    monkeypatch.setattr(faults.runner, "HEAVY", "torch")
    monkeypatch.setattr(faults.runner, "PATIENCE", 2)
    monkeypatch.setattr(faults.runner, "MEMORY", -1)
    return tmp_path


def test_who_noticed(shop, capsys):
    main(["shop.py", "--report", "report.json"], root=shop)
    report = json.loads((shop / "report.json").read_text())
    by = {f"{each['key'][3]} -> {each['key'][4]}": each["by"] for each in report["faults"]}
    in_process = "tests/test_shop.py::test_price"
    expected = {
        "RATE = 2 -> RATE = 3": in_process,  # no test runs the line, so those of the file are tried
        "total = count * RATE -> total = count / RATE": in_process,
        "while total < 3: -> while total <= 3:": in_process,
        "while total < 3: -> while total > 3:": "time limit",
        "while total < 3: -> while total < 4:": in_process,
        "total += 1 -> pass": "time limit",
        "total += 1 -> total = 1": "time limit",
        "total += 1 -> total -= 1": "time limit",
        "total += 1 -> total += 2": in_process,
        "total += 1 -> total += 0": "time limit",
        "return total -> return None": in_process,
        "return mark + '.'[1:] -> return None": "tests/test_shop.py::test_in_a_process",
        "return 5 -> return 6": None,  # which no test runs
    }
    assert {name: by[name] for name in expected} == expected
