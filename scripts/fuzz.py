"""Fuzz every parser of messages, for long.

Run it in the repository: ``python scripts/fuzz.py --inputs 100000``.
"""

import logging
import resource
import sys
import time
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.fuzz.run import fuzz
from tests.fuzz.targets import all_targets


@click.command()
@click.option("--inputs", default=100_000, show_default=True, help="Damaged messages in all, shared by the targets.")
def main(inputs: int) -> None:
    """Feed damaged messages to whatever parses them; only typed errors may come out."""
    logging.disable(logging.CRITICAL)
    targets = all_targets()
    started, total = time.monotonic(), 0
    for place, target in enumerate(targets.values()):
        share = inputs * (place + 1) // len(targets) - inputs * place // len(targets)
        count = fuzz(target, share)
        total += count.inputs
        click.echo(f"{target.name:32} {count.inputs:8} inputs, the slowest {count.slowest * 1000:6.1f} ms")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    click.echo(f"{total} inputs, {len(targets)} targets, {time.monotonic() - started:.0f} s, at most {peak} MB")


if __name__ == "__main__":
    main()
