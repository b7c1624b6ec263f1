"""``fl-app hub``: pods, runs and results in a browser."""

import json
from pathlib import Path

import click

from fl_app.host.echo import echo
from server.commands.output import federation_option, json_option, runs_option


@click.group(invoke_without_command=True, epilog="Example: fl-app hub --federation hospitals")
@federation_option
@runs_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Interface to listen on.")
@click.option(
    "--port", default=8050, show_default=True, type=click.IntRange(0, 65535), help="Port; 0 takes a free one."
)
@click.option(
    "--certificate",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Certificate (PEM) of its TLS; without one it listens on this machine only.",
)
@click.option(
    "--key", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="The certificate's key (PEM)."
)
@click.option("--no-browser", is_flag=True, help="Print the link that logs in, and open no browser.")
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
    if isinstance(chosen, SimulatedFederation):
        look.start()  # its pods are all here, and nobody else's ledger is written to
    address = Address(host, port, certificate=certificate, key=key)
    with until_interrupted():
        serve(roles, address, said=lambda origin, link: _say(origin, link, browser=not no_browser, as_json=as_json))


@hub.command("open", epilog="Example: fl-app hub open")
@click.option(
    "--port", type=click.IntRange(1, 65535), help="The hub's port, if you serve several.  [default: the newest]"
)
@click.option("--no-browser", is_flag=True, help="Print the link, and open no browser.")
@json_option
def open_(port: int | None, no_browser: bool, as_json: bool) -> None:
    """Log your browser in to a hub that you serve on this machine."""
    from urllib.parse import urlsplit

    from fl_app.errors import UsageError
    from fl_app.hub.serve import new_link, running

    found = [one for one in running() if port in (None, urlsplit(one.origin).port)]
    if not found:
        where = f" on port {port}" if port else ""
        raise UsageError(f"you serve no hub{where}; `fl-app hub` starts one")
    one = found[-1]
    _say(one.origin, new_link(one.origin, one.secret), browser=not no_browser, as_json=as_json)


def _say(origin: str, link: str, *, browser: bool, as_json: bool) -> None:
    """Open the browser, and say where the hub is; print the link where no browser was opened."""
    from urllib.parse import urlsplit

    from fl_app.hub.serve import open_browser

    opened = browser and open_browser(link, urlsplit(origin).port or 0)
    if as_json:
        echo(json.dumps({"hub": origin, "link": link, "browser": opened}))
        return
    echo(f"hub      {origin}")
    if not opened:
        echo(f"open     {link}  (good once, for 5 minutes)")
