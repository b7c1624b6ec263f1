"""``fl-app doctor``."""

from dataclasses import asdict
from pathlib import Path

import click

from server.commands.output import emit, json_option


@click.command(epilog="Example: fl-app doctor --federation hospitals")
@click.option("--federation", metavar="NAME", help="Look also at what a run over it needs; as `fl-app fit` takes it.")
@json_option
@click.pass_context
def doctor(context: click.Context, federation: str | None, as_json: bool) -> None:
    """Look for what may be wrong with this installation; exit code 1 if anything is."""
    from fl_app.federation.kinds import find_federation
    from fl_app.host.findings import Finding
    from server.doctor.installation import examine

    def line(finding: Finding) -> str:
        return f"{'ok   ' if finding.ok else 'WRONG'}  {finding.about}: {finding.text}"

    given = find_federation(federation, Path.cwd()) if federation else None
    found = examine(Path.cwd(), given)
    emit([asdict(finding) for finding in found], as_json, lambda: click.echo("\n".join(map(line, found))))
    if not all(finding.ok for finding in found):
        context.exit(1)
