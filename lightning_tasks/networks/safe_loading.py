"""Network files that can do no more than compute; PyTorch's readers run what else stands in them."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zipfile import ZipFile

# Of TorchScript, which may be called while the file is read, and of the image functions of torchvision.
READS_OR_WRITES = re.compile(r"\b(?:save|\w+_file)\b")
# Of a graph: what it computes with, by name. Other names are looked up in Python's modules, `torch.os.system` too.
COMPUTES = re.compile(
    r"torch\.ops\.(?!.*\b(?:save|\w+_file)\b)[\w.]+|math\.\w+|torch\.sym_\w+"
    r"|_operator\.(?!call|methodcaller|attrgetter)\w+"
)
# Of the sizes in it, which sympy evaluates as Python: no attributes that are called, and no functions of Python.
SIZE = re.compile(r"[\w\s(),=+*/.<>-]*")
CALLS = re.compile(r"__|\)\s*\(|\b(?!(?:ceiling|floor)\b)[a-z_]\w*\s*\(")


def require_harmless(path: Path) -> None:
    """Refuse a file of TorchScript or torch.export that would do something else when it is read or asked.

    Pickles in it are not looked at.

    Args:
        path: The file.

    Raises:
        ValueError: If it holds compiled code, objects, or calls what does not compute; names that.
        OSError: If it cannot be read.
        zipfile.BadZipFile: If it is neither.
    """
    with ZipFile(path) as archive:
        for entry in archive.infolist():
            name = entry.filename.lower()  # PyTorch's reader takes either case
            if name.endswith(".py") and (found := READS_OR_WRITES.search(archive.read(entry).decode())):
                raise ValueError(f"{entry.filename} calls {found[0]}, which a network does not need")
            if path.suffix == ".pt2" and re.search(r"/data/aotinductor/|/(custom|opaque)_obj", name):
                raise ValueError(f"{entry.filename} is compiled code or an object, which a network does not need")
            if path.suffix == ".pt2" and name.endswith(".json"):
                _require_graph(archive.read(entry).decode())


def _require_graph(text: str) -> None:
    """Refuse a graph that calls more than functions of tensors and numbers."""
    if "default_factory_module" in text:  # of a dictionary in the place of tensors
        raise ValueError("its graph names a module to be imported")
    for key, value in _strings(json.loads(text)):
        if key in ("target", "as_operator") and not COMPUTES.fullmatch(value):
            raise ValueError(f"its graph calls {value}, which a network does not need")
        if key == "expr_str":
            size = re.sub(r"'\w*'", "", value)  # names of symbols
            if not SIZE.fullmatch(size) or CALLS.search(size):
                raise ValueError(f"its graph has the size {value}")


def _strings(node: Any, key: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(node, str):
        yield key, node
    elif isinstance(node, dict):
        for name, value in node.items():
            yield from _strings(value, name)
    elif isinstance(node, list):
        for value in node:
            yield from _strings(value, key)
