"""Slips that a programmer could make, made on the syntax tree."""

import ast
import copy
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise, takewhile
from typing import Any

COMPARISONS = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.GtE),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.LtE),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
ARITHMETIC = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Div,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
}
# What is taken for each other: functions by their whole name, words in other names and in strings.
FUNCTIONS, WORDS = (
    [(pair[way], pair[1 - way]) for pair in map(str.split, pairs.split(", ")) for way in (0, 1)]
    for pairs in (
        "min max, sum mean, any all, argmin argmax, amin amax, minimum maximum, zeros ones, floor ceil, train eval",
        "min max, train test, train val, val test, best last, first last, student teacher, height width, mean std, s t",
    )
)
CALLS = re.compile("abs|clone|copy|deepcopy|detach|exp|float|log|resolve|reversed|sorted|sqrt")  # that one may forget
SYMMETRIC = re.compile("cast|isinstance|issubclass|max|maximum|min|minimum")  # a swap is no slip or no change
MESSAGES = re.compile("rank_zero_info|rank_zero_warn|warn")  # their words change nothing
LOOKS = re.compile(  # keywords for the eye
    "alpha|bbox_.*|cmap|color|description|dpi|family|figsize|fontsize|frameon|ha|help|layout|line(style|width)|loc|marker.*"
    "|metavar|rotation|va"
)
DECORATORS = re.compile("classmethod|contextmanager|dataclass|property|staticmethod")  # nothing works without them
TYPES = re.compile("[A-Z][A-Za-z]*[a-z]|dict|list|set|tuple|type")  # in brackets after these: no code
Scope = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True)
class Fault:
    """One fault in one file.

    Attributes:
        path: The file, relative to the root of the project.
        scope: Names of the class and function around it, joined by dots.
        operator: What kind of slip.
        before: The lines that it changes, as `ast.unparse` writes them.
        after: The same lines with the fault.
        number: Counts faults of a file that are equal in all of the above, from 0.
        ranges: Lines (first, last) of the changed statement and of the scopes around it, innermost first.
        text: Makes the whole file with the fault.
    """

    path: str
    scope: str
    operator: str
    before: str
    after: str
    number: int
    ranges: tuple[tuple[int, int], ...]
    text: Callable[[], str]

    @property
    def key(self) -> tuple[str, str, str, str, str, int]:
        """What identifies it while the code around it changes."""
        return self.path, self.scope, self.operator, self.before, self.after, self.number


def faults(path: str, source: str) -> list[Fault]:
    """Make every fault of a file, in the order of the code."""
    tree = ast.parse(source)
    names = {getattr(node, field, None) for node in ast.walk(tree) for field in ("id", "attr", "arg")}
    made, seen, count = [], set(), Counter[tuple[str, ...]]()
    for trail, field, index, node in _places(tree, ()):
        statement = next(each for each in (node, *reversed(trail)) if isinstance(each, ast.stmt))
        scopes = [each for each in (*trail, node) if isinstance(each, Scope)]
        original = ast.unparse(statement)
        for operator, new, changed in _changes(node, trail, names):
            replaced = partial(_unparse_with, (trail[-1], field, index), node, new)
            difference = _difference(original, ast.unparse(new) if node is statement else replaced(statement))
            start = _lines(changed if isinstance(changed, ast.stmt) else statement)
            if difference[0] == difference[1] or (start, difference) in seen:
                continue
            seen.add((start, difference))
            key = (path, ".".join(each.name for each in scopes), operator, *difference)
            ranges = (start, *((each.lineno, each.end_lineno or 0) for each in reversed(scopes)), (1, 10**9))
            made.append(Fault(*key, count[key], ranges, partial(replaced, tree)))
            count[key] += 1
    return made


def _places(node: ast.AST, trail: tuple[ast.AST, ...]) -> Iterator[tuple[tuple[ast.AST, ...], str, int | None, Any]]:
    """Walk over all nodes that may change: the nodes around each, its field and index in the innermost, itself."""
    trail = (*trail, node)
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "exc", "format_spec"):
            continue
        for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(child, ast.AST) and not _untouched(child):
                yield trail, field, index, child
                yield from _places(child, trail)


def _untouched(node: ast.AST) -> bool:
    """Tell what is no code that runs: documentation, checks for ourselves, types, the words of messages."""
    match node:
        case (
            ast.Import() | ast.ImportFrom() | ast.Assert() | ast.Expr(value=ast.Constant()) | ast.AnnAssign(value=None)
        ):
            return True
        case ast.Assign(targets=[ast.Name(id="__all__")]) | ast.Raise(exc=ast.Name(id="NotImplementedError")):
            return True
        case ast.If(test=ast.Name(id="TYPE_CHECKING") | ast.Compare(left=ast.Name(id="__name__"))):
            return True
        case ast.keyword(arg=name) if LOOKS.fullmatch(name or ""):
            return True
        case ast.keyword(arg="strict", value=ast.Constant(value=True)):  # zip's, a check for ourselves
            return True
        case ast.Subscript(value=base):
            return bool(TYPES.fullmatch(_name(base)))
    return False


def _changes(
    node: ast.AST, trail: tuple[ast.AST, ...], names: set[str | None]
) -> Iterator[tuple[str, ast.AST, ast.AST]]:
    """Give each slip at a node: its kind, what replaces the node, and the node whose lines it changes."""
    if isinstance(node, ast.stmt):
        yield from _statement_changes(node, trail[-1])
    elif not any(isinstance(each, ast.Call) and MESSAGES.fullmatch(_name(each.func)) for each in (*trail, node)):
        for operator, new in (*_expression_changes(node, trail[-1]), *_word_changes(node, trail[-1], names)):
            yield operator, new, node


def _statement_changes(node: ast.stmt, parent: ast.AST) -> Iterator[tuple[str, ast.stmt, ast.stmt]]:
    match node:
        case ast.If(test=test, body=body, orelse=orelse):
            yield "if never", _with(node, body=[ast.Pass()]), body[0]
            if orelse:
                yield "else dropped", _with(node, orelse=[]), orelse[0]
            if not isinstance(body[-1], ast.Raise):
                yield "if always", _with(node, test=ast.Constant(True)), node
            if isinstance(test, ast.Name | ast.Attribute | ast.Call):
                yield "condition turned", _with(node, test=ast.UnaryOp(ast.Not(), test)), node
        case ast.With(items=items, body=body) if not any(item.optional_vars for item in items):
            yield "with dropped", ast.If(ast.Constant(True), body, []), node
        case ast.Return(value=None) | ast.Continue() | ast.Break() | ast.Raise() | ast.Delete() | ast.Expr(ast.Call()):
            yield "statement dropped", ast.Pass(), node
        case ast.Return(value=ast.AST()):
            yield "nothing returned", ast.Return(ast.Constant(None)), node
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript()]):
            yield "statement dropped", ast.Pass(), node
        case ast.Assign() if isinstance(parent, ast.ClassDef):
            yield "statement dropped", ast.Pass(), node
        case ast.AnnAssign(target=ast.Attribute(), value=ast.AST()):
            yield "statement dropped", ast.Pass(), node
        case ast.AugAssign(target=target, op=op, value=value):
            yield "statement dropped", ast.Pass(), node
            yield "assigned, not added", ast.Assign([target], value, lineno=0), node
            if type(op) in ARITHMETIC and not _text(value):
                yield "arithmetic", _with(node, op=ARITHMETIC[type(op)]()), node
        case ast.FunctionDef(decorator_list=decorators) | ast.ClassDef(decorator_list=decorators):
            for index, each in enumerate(decorators):
                if not DECORATORS.fullmatch(_name(each)):
                    yield "decorator dropped", _with(node, decorator_list=_without(decorators, index)), node


def _expression_changes(node: ast.AST, parent: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    match node:
        case ast.Compare(ops=ops):
            for index, op in enumerate(ops):
                for other in COMPARISONS[type(op)]:
                    yield "comparison", _with(node, ops=[*ops[:index], other(), *ops[index + 1 :]])
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):  # of dicts: which one wins
            yield "operands swapped", _with(node, left=right, right=left)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in ARITHMETIC and not _text(left) | _text(right):
            yield "arithmetic", _with(node, op=ARITHMETIC[type(op)]())
        case ast.BoolOp(op=op, values=values):
            yield "and/or", _with(node, op=ast.And() if isinstance(op, ast.Or) else ast.Or())
            for index in range(len(values)):
                yield "condition dropped", _with(node, values=_without(values, index))
        case ast.UnaryOp(op=ast.Not() | ast.USub(), operand=operand):
            yield "sign dropped", operand
        case ast.IfExp(body=body, orelse=orelse):
            yield "one branch", body
            yield "one branch", orelse
        case ast.Constant(value=bool(value)):
            yield "constant", ast.Constant(not value)
        case ast.Constant(value=int(value)):
            for number in (value + 1, 0)[: 1 + (value == 1)]:
                yield "constant", ast.Constant(number)
        case ast.Constant(value=float(value)):
            yield "constant", ast.Constant(2 * value or 1.0)
        case ast.Subscript(slice=ast.Constant(value=0)):
            yield "first/last", _with(node, slice=ast.UnaryOp(ast.USub(), ast.Constant(1)))
        case ast.Subscript(slice=ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=1))):
            yield "first/last", _with(node, slice=ast.Constant(0))
        case ast.Slice():
            for end in ("lower", "upper", "step"):
                yield "slice", _with(node, **{end: None})
        case ast.comprehension(ifs=ifs):
            for index in range(len(ifs)):
                yield "filter dropped", _with(node, ifs=_without(ifs, index))
        case ast.Dict(keys=keys, values=values):
            for index in range(len(keys)):
                yield "element dropped", _with(node, keys=_without(keys, index), values=_without(values, index))
        case ast.List(elts=elements) | ast.Set(elts=elements) if len(elements) > 1 or isinstance(node, ast.List):
            for index in range(len(elements)):
                yield "element dropped", _with(node, elts=_without(elements, index))
        case ast.Tuple(elts=elements):
            if isinstance(parent, ast.Compare | ast.ExceptHandler | ast.Call):  # mostly a choice, without order
                for index in range(len(elements)):
                    yield "element dropped", _with(node, elts=_without(elements, index))
            for swapped in _swaps(elements) if not isinstance(parent, ast.Compare | ast.ExceptHandler) else ():
                yield "elements swapped", _with(node, elts=swapped)
        case ast.Call(func=func, args=args, keywords=keywords):
            for index in (i for i, each in enumerate(keywords) if not _untouched(each)):
                yield "keyword dropped", _with(node, keywords=_without(keywords, index))
            for swapped in _swaps(args) if not SYMMETRIC.fullmatch(_name(func)) else ():
                yield "arguments swapped", _with(node, args=swapped)
            if CALLS.fullmatch(_name(func)) and (args or isinstance(func, ast.Attribute)):
                yield "call dropped", args[0] if args else func.value  # type: ignore[attr-defined]


def _word_changes(node: ast.AST, parent: ast.AST, names: set[str | None]) -> Iterator[tuple[str, ast.AST]]:
    """Take one name for another that is in use, or one word in a key for another."""
    called = isinstance(parent, ast.Call) and parent.func is node
    for field in ("id", "attr", "value"):
        name = getattr(node, field, None)
        if not isinstance(name, str) or " " in name:
            continue
        others = [b for a, b in FUNCTIONS if called and a == name]
        words = [re.sub(rf"(?<![a-zA-Z]){a}(?![a-zA-Z])", b, name) for a, b in WORDS]
        for other in others + [word for word in words if field == "value" or word in names]:
            yield "taken for another", _with(node, **{field: other})


def _swaps(elements: list[ast.expr]) -> Iterator[list[ast.expr]]:
    for index, (a, b) in enumerate(pairwise(elements)):
        if not isinstance(a, ast.Starred) and not isinstance(b, ast.Starred):
            yield [*elements[:index], b, a, *elements[index + 2 :]]


def _with(node: Any, **fields: Any) -> Any:
    new = copy.copy(node)
    for name, value in fields.items():
        setattr(new, name, value)
    return new


def _without(elements: list[Any], index: int) -> list[Any]:
    return elements[:index] + elements[index + 1 :]


def _unparse_with(place: tuple[ast.AST, str, int | None], node: ast.AST, new: ast.AST, around: ast.AST) -> str:
    """Write what is around a place with a new node there, and put the old one back."""
    owner, field, index = place
    try:
        _put(owner, field, index, new)
        return ast.unparse(around)
    finally:
        _put(owner, field, index, node)


def _put(owner: ast.AST, field: str, index: int | None, node: ast.AST) -> None:
    if index is None:
        setattr(owner, field, node)
    else:
        getattr(owner, field)[index] = node


def _name(node: ast.AST) -> str:
    """Give the last part of a dotted name, also of one that is called."""
    while isinstance(node, ast.Call):
        node = node.func
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _text(node: ast.AST) -> bool:
    """Tell texts and lists, with which a change of the operator would be no slip but a plain error."""
    return isinstance(node, ast.JoinedStr | ast.List | ast.Tuple) or isinstance(getattr(node, "value", None), str)


def _lines(node: ast.stmt) -> tuple[int, int]:
    """Lines of a statement; of one that holds others, those of its head."""
    body = getattr(node, "body", None)
    return node.lineno, max(node.lineno, body[0].lineno - 1) if body else node.end_lineno or node.lineno


def _difference(old: str, new: str) -> tuple[str, str]:
    """Cut the lines that two texts have in common at both ends; what is between, each on one line."""
    a, b = old.splitlines(), new.splitlines()
    for _ in range(2):  # from the start, then from the end
        equal = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))
        a, b = a[equal:][::-1], b[equal:][::-1]
    return _one_line(a), _one_line(b)


def _one_line(lines: list[str]) -> str:
    return " ".join(map(str.strip, lines))
