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
        "x = [0, 1.5]": ["[1.5]", "[0]", "[1, 1.5]", "[0, 3.0]"],
        "x = f(1, True)": ["f(0, True)", "f(2, True)", "f(1, False)", "f(True, 1)"],
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
        "x = 'val/acc'": ["'train/acc'", "'test/acc'"],
        "x = 'a test of words'": [],
        "x = f(student)": [],
        "x = student - y.teacher - last": [  # no name here to take for last
            *("student + y.teacher - last", "student - y.teacher + last"),
            *("teacher - y.teacher - last", "student - y.student - last"),
        ],
    }.items(),
)
def test_expressions(code, after):
    made = [each.after for each in faults_of("x.py", code)]
    assert sorted(made) == sorted(ast.unparse(ast.parse(f"x = {each}")) for each in after)


@pytest.mark.parametrize(
    ("code", "after"),
    {
        "self.a = b": ["pass"],
        "test: int": [],
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
from rates import RATE
LESS = 3

def price(count):
    return count * RATE - LESS

def settle():
    while True:
        break

def label():
    return "new"

def bag():
    return paper

def unused():
    return 5

paper = 0
"""
TESTS = """
import subprocess, sys, time
import shop

seen = []
bag = shop.bag()

def test_price():
    time.sleep(0.2)
    assert shop.price(4) == 5
    shop.settle()

def test_price_is_wrong():
    assert shop.price(4) == 8

def test_bag():
    assert bag == 0

def test_needs_the_next():
    time.sleep(0.1)
    seen.append(1)

def test_needs_the_last():
    assert seen and shop.price(0) == -3

def test_label():
    show = "import shop; print(shop.label())"
    assert subprocess.check_output([sys.executable, "-c", show], text=True, cwd="/") == "new\\n"
"""
FIRST = """
import shop

def test_is_there():
    assert shop.price
"""


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A small project; its tests run code in their own process, in another one, and not at all."""
    for name, text in {
        "shop.py": SHOP,
        "rates.py": "RATE = 2",
        "tests/test_first.py": FIRST,
        "tests/test_shop.py": TESTS,
        ".gitignore": "*.json",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    subprocess.run(["git", "init", "--quiet"], check=True)
    monkeypatch.setattr(faults.runner, "HEAVY", "torch")
    monkeypatch.setattr(faults.runner, "PATIENCE", 5)
    return tmp_path


def test_who_noticed(shop, capsys):
    main(["shop.py", "rates.py", "--report", "report.json"], root=shop)
    report = json.loads((shop / "report.json").read_text())
    assert {"{3} -> {4}".format(*each["key"]): each["by"] for each in report["faults"]} == {
        "LESS = 3 -> LESS = 4": "tests/test_shop.py::test_price",  # run by no test, so all of the file are asked
        "return count * RATE - LESS -> return None": "tests/test_shop.py::test_price",
        "return count * RATE - LESS -> return count * RATE + LESS": "tests/test_shop.py::test_price",
        "return count * RATE - LESS -> return count / RATE - LESS": "tests/test_shop.py::test_price",
        "while True: -> while False:": None,
        "break -> pass": "time limit",
        "return 'new' -> return None": "tests/test_shop.py::test_label",
        "return paper -> return None": "tests/test_shop.py::test_bag",  # made when the tests are imported
        "paper = 0 -> paper = 1": "tests/test_shop.py::test_bag",
        "return 5 -> return None": None,
        "return 5 -> return 6": None,
        "RATE = 2 -> RATE = 3": "tests/test_shop.py::test_price",  # no test runs a line of the file: all are asked
    }
    # The second passes in the whole suite, but not as the first of those that run the changed line.
    assert report["left_out"] == [f"tests/test_shop.py::test_{name}" for name in ("price_is_wrong", "needs_the_last")]
    said = capsys.readouterr().out.splitlines()
    assert said[1] == "    tests/test_shop.py::test_price_is_wrong"
    assert said[-1].split() == ["all", "12", "12", "9", "3", "25.0%"]
    assert sum(line.startswith("SURVIVED: nothing runs it") for line in said) == 2
    assert (shop / "shop.py").read_text() == SHOP


def test_sample_and_survivors(shop, capsys):
    main(["shop.py", "--list"], root=shop)
    everything = capsys.readouterr().out.splitlines()
    assert everything[2] == "shop.py:6 price arithmetic: return count * RATE - LESS -> return count * RATE + LESS"
    main(["shop.py", "--list", "--sample", "4"], root=shop)
    drawn = capsys.readouterr().out.splitlines()
    assert len(set(drawn)) == 4
    assert [each for each in everything if each in drawn] == drawn
    main(["shop.py", "--list", "--sample", "4", "--seed", "1"], root=shop)
    assert capsys.readouterr().out.splitlines() != drawn
    keys = [each.key for each in faults_of("shop.py", SHOP)]
    former = [{"key": key, "by": None if index in (2, 9) else "a test"} for index, key in enumerate(keys)]
    (shop / "former.json").write_text(json.dumps({"faults": former}))
    (shop / "shop.py").write_text("# a line more\n" + SHOP.replace("return 5", "return 7"))
    main(["shop.py", "--list", "--from", "former.json"], root=shop)
    assert capsys.readouterr().out.splitlines() == [
        "1 of 2 survivors of former.json are still possible",
        everything[2].replace(":6", ":7"),
    ]
    with pytest.raises(SystemExit):
        main(["shops"], root=shop)
