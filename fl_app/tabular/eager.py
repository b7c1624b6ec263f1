"""Optimisers of torch without its compiler, which nothing here uses and which takes as long to import as torch itself.

An optimiser imports it when it is made, to tell it what not to compile. No setting of torch's prevents that.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

_COMPILER = "torch._dynamo"


class _NoCompiler(ModuleType):
    """In the compiler's place: compiles nothing, so there is nothing to keep it from. Else it is the compiler."""

    @staticmethod
    def disable(function: Callable[..., Any], *_: object, **__: object) -> Callable[..., Any]:
        return function

    @staticmethod
    def graph_break(*_: object) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        _take_back(self)
        import torch._dynamo

        return getattr(torch._dynamo, name)


@contextmanager
def without_compiler() -> Iterator[None]:
    """Have optimisers that are made and used in this context not import torch's compiler."""
    place = sys.modules.setdefault(_COMPILER, _NoCompiler(_COMPILER))
    try:
        yield
    finally:
        _take_back(place)


def _take_back(place: ModuleType) -> None:
    if isinstance(place, _NoCompiler) and sys.modules.get(_COMPILER) is place:
        del sys.modules[_COMPILER]
