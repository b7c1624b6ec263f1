"""``fl-app pod``: the group of the owner's commands."""

import click

from client.commands.check import check
from client.commands.keys import approve, keygen, known
from client.commands.log import log
from client.commands.run import run


@click.group()
def pod() -> None:
    """Run and look after a pod of your own."""


for command in (run, keygen, approve, known, log, check):
    pod.add_command(command)
