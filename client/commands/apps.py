"""``fl-app pod approve-app``: which versions of the app may run at a pod."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from client.commands.options import home_option, json_option
from fl_app.errors import UsageError
from fl_app.host.echo import echo
from fl_app.system.home import pod_home

if TYPE_CHECKING:
    from client.site.app_diff import FileChange
    from client.site.approved_apps import Apps

_SHOWN = 400
"""Lines of a difference that are printed for one file without --full."""


@click.command("approve-app", epilog="Example: fl-app pod approve-app hospital-a")
@click.argument("name")
@click.argument("version", required=False, metavar="[BUNDLE.fab | HASH]")
@click.option("--yes", is_flag=True, help="Approve without asking.")
@click.option("--full", is_flag=True, help="Show every changed line.")
@click.option("--list", "listing", is_flag=True, help="List the approved and the refused versions and change nothing.")
@click.option("--revoke", metavar="HASH", help="Withdraw the approval of a version.")
@home_option
@json_option
def approve_app(
    name: str,
    version: str | None,
    yes: bool,
    full: bool,
    listing: bool,
    revoke: str | None,
    home: Path | None,
    as_json: bool,
) -> None:
    """Show what changed in the app since the last approved version, and approve it for pod NAME.

    The version is the one installed here, a bundle in a file, or one that the pod has refused, given by the beginning
    of its hash. A pod runs approved versions only.
    """
    from client.site.approved_apps import Apps

    directory = pod_home(name, home)
    if not directory.is_dir():
        raise UsageError(f"pod '{name}' has no home in {directory.parent}; `fl-app pod keygen {name}` makes it")
    apps = Apps(directory)
    if listing:
        _emit(_listing(apps), as_json, _lines_of_listing(apps))
    elif revoke:
        whole = apps.find_approved(revoke)
        apps.revoke(whole)
        _emit({"revoked": whole}, as_json, [f"pod '{name}' no longer runs version {whole[:12]}"])
    else:
        _approve(apps, name, version, yes, full, as_json)


def _approve(apps: "Apps", name: str, version: str | None, yes: bool, full: bool, as_json: bool) -> None:
    from client.site.app_diff import difference
    from client.site.approved_apps import hash_of

    content, last = _bundle(apps, version), apps.last()
    if last is None and version is not None:
        last = _bundle(apps, None)  # nothing is approved yet: the version installed here is what its owner knows
    hash_ = hash_of(content)
    try:
        changes = difference(last, content)
    except UsageError as error:
        raise UsageError(f"{version}: {error}" if version else str(error)) from error
    lines = [{**vars(one), "lines": one.lines if last else ()} for one in changes]
    document = {"hash": hash_, "since": hash_of(last) if last else None, "changes": lines}
    if apps.approved(hash_):
        _emit({**document, "approved": True}, as_json, [f"pod '{name}' runs version {hash_[:12]} already"])
        return
    echo("\n".join(_lines_of(changes, last, hash_, full)), err=as_json)
    if not yes:
        click.confirm(f"Let this version run at pod '{name}'?", abort=True, err=as_json)
    apps.approve(content)
    _emit({**document, "approved": True}, as_json, [f"pod '{name}' runs version {hash_[:12]} from now on"])


def _bundle(apps: "Apps", version: str | None) -> bytes:
    if version is None:
        from fl_app.host.bundle import build

        return build()
    if version.endswith(".fab"):
        try:
            return Path(version).read_bytes()
        except OSError as error:
            raise UsageError(f"{version}: the bundle cannot be read: {error.strerror}") from error
    return apps.find_refused(version)


def _listing(apps: "Apps") -> dict[str, list[str]]:
    return {"approved": apps.names(), "refused": apps.refused()}


def _lines_of_listing(apps: "Apps") -> list[str]:
    lines = [f"{event}  {name}" for event, names in _listing(apps).items() for name in names]
    return lines or ["no version is approved yet: `fl-app pod approve-app NAME` approves the one installed here"]


def _lines_of(changes: "list[FileChange]", last: bytes | None, hash_: str, full: bool) -> list[str]:
    """Return the text to read before one approves: the list of files, and then what changed in them."""
    from client.site.approved_apps import hash_of

    if last is None:
        lines = [f"version {hash_[:12]}: {len(changes)} files; no version is approved yet to compare it with"]
        return lines + [f"  {one.name}  {one.added} lines" for one in changes]
    if not changes:
        return [f"version {hash_[:12]}: the files of version {hash_of(last)[:12]}, packed in another way"]
    lines = [f"version {hash_[:12]}: {len(changes)} files differ from version {hash_of(last)[:12]}"]
    lines += [f"  {one.kind:<8} {one.name}  +{one.added} -{one.removed}" for one in changes]
    for one in changes:
        shown = one.lines if full else one.lines[:_SHOWN]
        lines += ["", f"--- {one.name} ({one.kind})", *shown]
        if len(shown) < len(one.lines):
            lines.append(f"... {len(one.lines) - len(shown)} more lines: --full shows them")
    return lines


def _emit(document: dict[str, Any], as_json: bool, lines: list[str]) -> None:
    echo(json.dumps(document, indent=1) if as_json else "\n".join(lines))
