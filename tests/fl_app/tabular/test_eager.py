"""Training imports nothing of torch's compiler, and ends with the parameters that it ends with beside the compiler."""

import json
import subprocess
import sys
from typing import Any

import pytest
from torch import _dynamo

from fl_app.tabular.eager import without_compiler
from fl_app.tabular.settings import OPTIMIZERS
from tests.house.source import ROOT

TRAINED = """
import contextlib, json, sys
import torch
from fl_app.tabular.eager import without_compiler

def trained(name):
    weights = torch.nn.Parameter(torch.tensor([1.0, -2.0, 3.0]))
    descent = getattr(torch.optim, name)([weights], lr=0.1)
    for _ in range(3):
        descent.zero_grad()
        weights.square().sum().backward()
        torch.nn.utils.clip_grad_norm_([weights], 1.0)
        descent.step()
    return weights.tolist()

def of_rows():
    loss = lambda weights, row: torch.nn.functional.softplus(weights @ row)
    rows = torch.arange(6.0).reshape(2, 3)
    return torch.func.vmap(torch.func.grad(loss), (None, 0))(torch.tensor([1.0, -2.0, 0.5]), rows).tolist()

for beside in (without_compiler, contextlib.nullcontext):
    for work in (lambda: {name: trained(name) for name in sys.argv[1:]}, of_rows):
        with beside():
            found = work()
        print(json.dumps([found, "torch._dynamo" in sys.modules]))
import torch._dynamo.config
"""


@pytest.fixture(scope="module")
def found() -> list[tuple[Any, bool]]:
    """What comes of optimizers and of single rows without the compiler, then of both beside it; is it there then?"""
    command = [sys.executable, "-c", TRAINED, *OPTIMIZERS]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True, timeout=200)
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def test_every_optimizer_does_without_the_compiler_and_ends_with_the_same_parameters(found: Any) -> None:
    (without, imported), _, (beside, later), _ = found
    assert not imported
    assert later, "nothing is saved any more"
    assert without == beside
    assert len(without) == len(OPTIMIZERS)


def test_gradients_of_single_rows_do_without_the_compiler_and_are_the_same(found: Any) -> None:
    _, (without, imported), _, (beside, _) = found
    assert not imported
    assert without == beside
    assert without[0] != without[1]


def test_a_compiler_that_is_there_already_stays() -> None:
    with without_compiler():
        assert sys.modules["torch._dynamo"] is _dynamo
    assert sys.modules["torch._dynamo"] is _dynamo


def test_whatever_else_is_asked_for_is_the_compilers_own() -> None:
    script = "import torch; from fl_app.tabular.eager import without_compiler\n"
    script += "with without_compiler(): found = torch._dynamo.is_compiling()\n"
    script += "import sys; print(found, 'torch._dynamo.config' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.split() == ["False", "True"]
    own = script.replace("is_compiling()", "compiled_autograd.in_compiled_autograd_region")
    done = subprocess.run([sys.executable, "-c", own], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.split() == ["False", "True"]
