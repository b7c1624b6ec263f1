"""``fl-app hub``: pods, runs and results in a browser."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from fl_app.errors import FlAppError
from fl_app.host.echo import echo
from fl_app.hub.command import listening_address, listening_options, metrics_token, say
from server.commands.hub_open import open_
from server.commands.output import Stopped, console, federation_option, json_option, runs_option

if TYPE_CHECKING:
    from fl_app.federation.kinds import SimulatedFederation
    from fl_app.hub.role import Role
    from fl_app.hub.serve import Address

Admits = Callable[[str, tuple[str, ...]], bool]


@click.group(invoke_without_command=True, epilog="Example: fl-app hub --federation hospitals")
@federation_option
@runs_option
@click.option(
    "--superlink",
    metavar="DIR",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Show what the operator of the SuperLink in DIR may see, instead of a modeller's runs.",
)
@listening_options
@json_option
@click.pass_context
def hub(
    context: click.Context,
    federation: str | None,
    runs: str,
    superlink: Path | None,
    host: str,
    public_name: str | None,
    port: int,
    certificate: Path | None,
    key: Path | None,
    metrics_token_: Path | None,
    no_browser: bool,
    as_json: bool,
) -> None:
    """Show pods, runs and results in your browser, live, until Ctrl-C.

    It listens on this machine, and opens by a link that is good once; `fl-app hub open` makes another. Beyond this
    machine (--host 0.0.0.0) it needs a certificate, for which an operator's hub takes the SuperLink's, and a key opens
    it: the modeller's own, or the operator's hub.key in DIR.
    """
    if context.invoked_subcommand:
        return
    from fl_app.host.signals import until_interrupted
    from fl_app.hub.serve import serve

    address = listening_address(host, port, public_name, certificate, key)
    started: Callable[[], object] = lambda: None  # noqa: E731
    if superlink is not None:
        role, address, admits = _of_operator(superlink, address)
    else:
        role, admits, started = _of_modeller(federation, runs)

    def listens(origin: str, link: str) -> None:
        started()
        say(origin, link, browser=not no_browser, as_json=as_json)

    with until_interrupted():
        serve([role], address, admits=admits, metrics_token=metrics_token(metrics_token_), said=listens)


def _of_operator(superlink: Path, address: "Address") -> "tuple[Role, Address, Admits]":
    """Return the operator's role, where its hub listens, and who may open it from another machine."""
    from fl_app.federation.address import is_loopback
    from fl_app.hub.keys import KEY_FILE, admits_key_in, load_or_create_key
    from server.hub.operator import operator_role
    from server.superlink.directory import SuperLinkDirectory

    directory = SuperLinkDirectory(superlink)
    if not is_loopback(f"{address.host}:{address.port}"):
        load_or_create_key(directory.path / KEY_FILE)
        if address.certificate is None:
            address = replace(
                address,
                name=address.name or directory.address.rpartition(":")[0].strip("[]"),
                certificate=directory.certificate,
                key=directory.key,
                authority=directory.authority,
            )
    return operator_role(directory), address, partial(admits_key_in, directory.path / KEY_FILE)


def _of_modeller(federation: str | None, runs: str) -> "tuple[Role, Admits, Callable[[], object]]":
    """Return the modeller's role, who may open its hub from another machine, and what begins once it listens."""
    from fl_app.errors import UsageError
    from fl_app.federation.kinds import SimulatedFederation, find_federation
    from fl_app.host.party_keys import modeller_home
    from fl_app.hub.keys import admits_key_in
    from fl_app.identity.key_file import KEY_FILE
    from server.hub.look import Look
    from server.hub.modeller import modeller_role

    if Path(runs).exists() and not Path(runs).is_dir():
        raise UsageError(f"{runs}: not a directory; give the directory that holds the runs")
    chosen = find_federation(federation, Path.cwd())
    look = Look(chosen)
    named = ["--federation", federation] if federation else []
    role = modeller_role(chosen, Path(runs), look, [*named, *(["--runs", runs] if runs != "runs" else [])])
    # Pods of a simulation are all here, and looking at them writes to nobody else's ledger.
    started = look.start if isinstance(chosen, SimulatedFederation) else lambda: None
    return role, partial(admits_key_in, modeller_home() / KEY_FILE), started


@contextmanager
def hub_beside(federation: "SimulatedFederation", runs: str, port: int, *, browser: bool) -> Iterator[None]:
    """Serve the modeller's hub while the block trains, and afterwards until Ctrl-C.

    The pods are asked first, so that the hub has what they publish; a run that fails is shown there too.
    """
    from fl_app.host.signals import interruptible
    from fl_app.hub.serve import Address, open_browser, served
    from server.hub.look import Look
    from server.hub.modeller import modeller_role

    look = Look(federation)
    role = modeller_role(federation, Path(runs), look, ["--runs", runs] if runs != "runs" else [])
    with interruptible(), served([role], Address(port=port)) as (origin, link):
        echo(f"hub      {origin}", err=True)
        if not (browser and open_browser(link, urlsplit(origin).port or 0)):
            echo(f"open     {link}  (good once, for 5 minutes)", err=True)
        with console(errors=True).status("asking the pods"):
            look.start().join()
        failed: FlAppError | None = None
        try:
            yield
            echo(f"the run has ended; the hub goes on at {origin} until Ctrl-C", err=True)
        except Stopped:
            raise
        except FlAppError as error:
            failed = error
            echo(f"the run has failed; the hub goes on at {origin} until Ctrl-C", err=True)
        wait_for_interrupt()
    if failed:
        raise failed


def wait_for_interrupt() -> None:
    """Wait for Ctrl-C or SIGTERM."""
    with suppress(KeyboardInterrupt):
        Event().wait()


hub.add_command(open_)
