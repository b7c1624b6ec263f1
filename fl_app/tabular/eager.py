"""Torch without its compiler, which nothing here uses and which takes as long to import as torch itself.

An optimiser imports it when it is made, and a gradient of `torch.func` when it is taken, to tell it what not to
compile. No setting of torch's prevents that.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from types import ModuleType
from typing import Any

_COMPILER = "torch._dynamo"


class _NoAutograd:
    """In the place of the compiler's own automatic differentiation, which is not in use."""

    _disable = nullcontext

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        _take_back(sys.modules.get(_COMPILER))
        from torch._dynamo import compiled_autograd

        return getattr(compiled_autograd, name)


class _NoCompiler(ModuleType):
    """In the compiler's place: compiles nothing, so there is nothing to keep it from. Else it is the compiler."""

    compiled_autograd = _NoAutograd()

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
    """Have optimisers that are made and used, and gradients that are taken, in this context not import the compiler."""
    place = sys.modules.setdefault(_COMPILER, _NoCompiler(_COMPILER))
    try:
        yield
    finally:
        _take_back(place)


def _take_back(place: ModuleType | None) -> None:
    if isinstance(place, _NoCompiler) and sys.modules.get(_COMPILER) is place:
        del sys.modules[_COMPILER]
