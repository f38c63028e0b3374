"""Lets a config name any class or function where a network is to be made, not only a subclass of what is asked for.

jsonargparse 4.53 takes a class for a `Callable[[...], Base]` if it is below Base, and calls it later with what the
config does not say. Of other classes and of functions it wants all parameters, and calls them at once; where an option
is given again, it fails on functions. A class that is the default of a bare `Callable` it writes down by its name, and
reads that name as an object of the class. It has no public hook for that, so the four functions that decide it are
wrapped here; everything else is jsonargparse's own.
"""

import contextlib
import functools
import inspect
from argparse import SUPPRESS
from collections.abc import Collection
from typing import Any

from jsonargparse import _typehints as typehints
from jsonargparse._util import import_object


def take_any(base: type, told: Collection[str]) -> None:
    """Take any class and any function for a `Callable[[...], base]`.

    Args:
        base: Class whose subclasses stay as they were.
        told: Parameters that the caller fills in, so that a config need not.
    """
    partial_of, adapt = typehints.adapt_partial_callable_class, typehints.adapt_typehints
    class_parser, check_type = typehints.ActionTypeHint.get_class_parser, typehints.ActionTypeHint._check_type

    def partial_of_any(callable_type: Any, spec: Any) -> Any:
        spec, skipped = partial_of(callable_type, spec)
        if skipped is None and typehints.get_callable_return_type(callable_type) is base:
            skipped = set(told)
        return spec, skipped

    def adapt_named_functions(value: Any, typehint: Any, *args: Any, **kwargs: Any) -> Any:
        """Treat the bare name of a function as that of a class, so that options may follow."""
        if isinstance(value, str) and "." in value and typehints.get_callable_return_type(typehint) is base:
            try:
                found = import_object(value)
            except Exception:  # whatever importing a user's file raises; jsonargparse imports it again, and says so
                found = None
            if callable(found) and not inspect.isclass(found):
                value = {"class_path": value}
        return adapt(value, typehint, *args, **kwargs)

    def parser_of_any(val_class: Any, sub_add_kwargs: dict[str, Any] | None = None, skip_args: Any = None) -> Any:
        """Leave out of a function's options what only those of a class have, and what it hands on without a word.

        What stands behind a network's `**kwargs` has no default here: torchvision's builders set some of it themselves.
        """
        called = import_object(val_class) if isinstance(val_class, str) else val_class
        if sub_add_kwargs and not inspect.isclass(called):
            sub_add_kwargs = {name: value for name, value in sub_add_kwargs.items() if name != "linked_targets"}
        parser = class_parser(called, sub_add_kwargs, skip_args)
        if skip_args == set(told):
            own = inspect.signature(called).parameters
            for action in parser._actions:
                if action.dest not in own:
                    action.default = SUPPRESS
                    action.required = False
        return parser

    @functools.wraps(check_type)  # jsonargparse looks at its parameters
    def class_where_the_default_is_one(action: Any, value: Any, *args: Any, **kwargs: Any) -> Any:
        """Take the name of a class for the class itself, not for an object of it, where the default is a class."""
        if isinstance(value, str) and "." in value and inspect.isclass(action.default):
            with contextlib.suppress(Exception):  # jsonargparse imports it again, and says what is wrong
                if inspect.isclass(found := import_object(value)):
                    value = found
        return check_type(action, value, *args, **kwargs)

    typehints.ActionTypeHint._check_type = class_where_the_default_is_one  # type: ignore[method-assign, assignment]
    typehints.ActionTypeHint.get_class_parser = staticmethod(parser_of_any)  # type: ignore[method-assign]
    typehints.adapt_partial_callable_class = partial_of_any
    typehints.adapt_typehints = adapt_named_functions  # type: ignore[assignment]
