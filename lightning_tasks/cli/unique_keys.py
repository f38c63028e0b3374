"""YAML in which a duplicate key is refused; PyYAML takes the later one without a word."""

import contextlib
from typing import Any

import yaml
from jsonargparse import get_loader, set_loader

from lightning_tasks.runs.renames import renamed_config


def require_unique_keys(text: str) -> None:
    """Refuse a text in which a mapping has a key twice.

    Raises:
        yaml.YAMLError: If one has, with its line; or the text is no YAML.
    """
    if text.count(":") > 1:
        _walk(yaml.compose(text, Loader=yaml.SafeLoader), set())


def _walk(node: Any, seen: set[int]) -> None:
    if node is None or id(node) in seen:  # an alias
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for each in node.value:
            _walk(each, seen)
    elif isinstance(node, yaml.MappingNode):
        keys = set()
        for key, value in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in keys:
                    raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key.value!r}", key.start_mark)
                keys.add(key.value)
            _walk(value, seen)


def read_yaml(text: str) -> Any:
    """Read plain data.

    Raises:
        yaml.YAMLError: If the text is no YAML, or has a key twice.
    """
    require_unique_keys(text)
    return yaml.safe_load(text)


def require_unique_keys_in_configs() -> None:
    """Let the parser of the command line refuse such configs; names of an older version are read as today's."""
    load = get_loader("yaml")

    def load_unique(stream: str) -> Any:
        require_unique_keys(stream)
        config = load(stream)
        with contextlib.suppress(RecursionError):  # an alias that contains itself, which the parser refuses
            config = renamed_config(config)
        return config

    set_loader("yaml", load_unique, exceptions=(yaml.YAMLError,))
