"""``fl-app pod``: the group of the owner's commands."""

import click

from client.commands.apps import approve_app
from client.commands.check import check
from client.commands.column import column
from client.commands.hub import hub
from client.commands.keys import approve, keygen, known, revoke, rotate
from client.commands.log import log
from client.commands.pause import pause, resume
from client.commands.run import run
from client.commands.setup import init
from client.commands.status import status


@click.group(epilog="Example: fl-app pod init data.csv --name hospital-a")
def pod() -> None:
    """Set up, run and maintain your own pod."""


for command in (
    init,
    column,
    run,
    status,
    hub,
    keygen,
    approve,
    approve_app,
    revoke,
    rotate,
    known,
    log,
    pause,
    resume,
    check,
):
    pod.add_command(command)
