"""``fl-app doctor``."""

from dataclasses import asdict
from pathlib import Path

import click

from server.commands.output import emit, json_option


@click.command(epilog="Example: fl-app doctor --json")
@json_option
@click.pass_context
def doctor(context: click.Context, as_json: bool) -> None:
    """Look for what may be wrong with this installation; exit code 1 if anything is."""
    from server.doctor import Finding, examine

    def line(finding: Finding) -> str:
        return f"{'ok   ' if finding.ok else 'WRONG'}  {finding.about}: {finding.text}"

    found = examine(Path.cwd())
    emit([asdict(finding) for finding in found], as_json, lambda: click.echo("\n".join(map(line, found))))
    if not all(finding.ok for finding in found):
        context.exit(1)
