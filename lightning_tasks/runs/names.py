"""Dotted names in options that somebody else has written: what they would import."""

import contextlib
import importlib.util
import os
import re
import sys
import sysconfig
from collections.abc import Iterator
from typing import Any

import yaml

INSTALLED = tuple(f"{sysconfig.get_path(kind)}{os.sep}" for kind in ("purelib", "platlib"))
DOTTED = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+"


def texts(node: Any, option: str = "") -> Iterator[tuple[str, str]]:
    """Go through all texts of options, and through what the parser takes out of a text; option and text of each."""
    if isinstance(node, str):
        yield option, node
        if re.fullmatch(r"[\w.]*", node):  # most are, and YAML is slow
            return
        with contextlib.suppress(yaml.YAMLError):
            if (inner := yaml.safe_load(node)) != node:
                yield from texts(inner, option)
    elif isinstance(node, dict):
        for key, value in node.items():
            yield from texts(value, f"{option}.{key}".lstrip("."))
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from texts(value, option)


def would_be_imported(name: str) -> bool:
    """Say whether its module is one that is not loaded yet, without importing it."""
    module = name.rpartition(".")[0]
    if module in sys.modules:
        return False
    try:
        return importlib.util.find_spec(module.partition(".")[0]) is not None
    except ValueError:  # of a module without a spec, as __main__
        return True


def require_loaded(options: Any, where: str) -> None:
    """Refuse options that name a module which is neither installed nor imported yet, as one of the current folder.

    Nothing that they name is called.

    Args:
        options: Options as plain data.
        where: They stand, for the error.

    Raises:
        ValueError: If one does.
    """
    for option, name in texts(options):
        if re.fullmatch(DOTTED, name) and would_be_imported(name) and not _is_installed(name.partition(".")[0]):
            raise ValueError(
                f"{where} names {name} ({option}), which is not installed and was not imported; name it in a config if"
                " you trust it"
            )


def _is_installed(package: str) -> bool:
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin is not None and spec.origin.startswith(INSTALLED)
