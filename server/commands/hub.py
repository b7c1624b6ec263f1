"""``fl-app hub``: pods, runs and results in a browser."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from fl_app.errors import FlAppError
from fl_app.host.echo import echo
from server.commands.output import Stopped, console, federation_option, json_option, runs_option

if TYPE_CHECKING:
    from fl_app.federation.kinds import SimulatedFederation


port_option = click.option(
    "--port",
    default=8050,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port of the hub; 0 takes a free one.",
)
no_browser_option = click.option(
    "--no-browser", is_flag=True, help="Print the link that logs in to the hub, and open no browser."
)


@click.group(invoke_without_command=True, epilog="Example: fl-app hub --federation hospitals")
@federation_option
@runs_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Interface to listen on.")
@port_option
@click.option(
    "--certificate",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Certificate (PEM) of its TLS; without one it listens on this machine only.",
)
@click.option(
    "--key", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="The certificate's key (PEM)."
)
@no_browser_option
@json_option
@click.pass_context
def hub(
    context: click.Context,
    federation: str | None,
    runs: str,
    host: str,
    port: int,
    certificate: Path | None,
    key: Path | None,
    no_browser: bool,
    as_json: bool,
) -> None:
    """Show pods, runs and results in your browser, live, until Ctrl-C.

    It listens on this machine, and opens by a link that is good once; `fl-app hub open` makes another.
    """
    if context.invoked_subcommand:
        return
    from fl_app.errors import UsageError
    from fl_app.federation.kinds import SimulatedFederation, find_federation
    from fl_app.host.signals import until_interrupted
    from fl_app.hub.serve import Address, serve
    from server.hub.look import Look
    from server.hub.modeller import modeller_role

    if bool(certificate) != bool(key):
        raise UsageError("--certificate and --key go together")
    if Path(runs).exists() and not Path(runs).is_dir():
        raise UsageError(f"{runs}: not a directory; give the directory that holds the runs")
    chosen = find_federation(federation, Path.cwd())
    look = Look(chosen)
    named = ["--federation", federation] if federation else []
    roles = [modeller_role(chosen, Path(runs), look, [*named, *(["--runs", runs] if runs != "runs" else [])])]
    address = Address(host, port, certificate=certificate, key=key)

    def listens(origin: str, link: str) -> None:
        if isinstance(chosen, SimulatedFederation):
            look.start()  # its pods are all here, and nobody else's ledger is written to
        _say(origin, link, browser=not no_browser, as_json=as_json)

    with until_interrupted():
        serve(roles, address, said=listens)


@hub.command("open", epilog="Example: fl-app hub open")
@click.option(
    "--port", type=click.IntRange(1, 65535), help="The hub's port, if you serve several.  [default: the newest]"
)
@no_browser_option
@json_option
def open_(port: int | None, no_browser: bool, as_json: bool) -> None:
    """Log your browser in to a hub that you serve on this machine."""
    from fl_app.errors import UsageError
    from fl_app.hub.serve import new_link, running

    found = [one for one in running() if port in (None, urlsplit(one.origin).port)]
    if not found:
        where = f" on port {port}" if port else ""
        raise UsageError(f"you serve no hub{where}; `fl-app hub` starts one")
    one = found[-1]
    _say(one.origin, new_link(one.origin, one.secret), browser=not no_browser, as_json=as_json)


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


def _say(origin: str, link: str, *, browser: bool, as_json: bool) -> None:
    """Open the browser, and say where the hub is; print the link where no browser was opened."""
    from fl_app.hub.serve import open_browser

    opened = browser and open_browser(link, urlsplit(origin).port or 0)
    if as_json:
        echo(json.dumps({"hub": origin, "link": link, "browser": opened}))
        return
    echo(f"hub      {origin}")
    if not opened:
        echo(f"open     {link}  (good once, for 5 minutes)")
