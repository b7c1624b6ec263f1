"""``fl-app doctor``."""

from dataclasses import asdict
from pathlib import Path

import click

from fl_app.host.echo import echo
from server.commands.output import emit, json_option


@click.command(epilog="Example: fl-app doctor --federation hospitals")
@click.option("--federation", metavar="NAME", help="Also check what a run over it needs; as for `fl-app fit`.")
@json_option
@click.pass_context
def doctor(context: click.Context, federation: str | None, as_json: bool) -> None:
    """Check this installation for problems; the exit code is 1 if there are any."""
    from fl_app.federation.kinds import find_federation
    from fl_app.host.findings import Finding
    from server.doctor.installation import examine

    def line(finding: Finding) -> str:
        return f"{'ok   ' if finding.ok else 'WRONG'}  {finding.about}: {finding.text}"

    given = find_federation(federation, Path.cwd()) if federation else None
    findings = examine(Path.cwd(), given)
    emit([asdict(finding) for finding in findings], as_json, lambda: echo("\n".join(map(line, findings))))
    if not all(finding.ok for finding in findings):
        context.exit(1)
