"""``fl-app report``."""

from pathlib import Path

import click

from fl_app.host.echo import echo
from server.commands.output import emit, json_option, runs_option


@click.command(epilog="Example: fl-app report latest")
@click.argument("run", default="latest")
@click.option("--open", "show", is_flag=True, help="Open the page in the browser.")
@runs_option
@json_option
def report(run: str, show: bool, runs: str, as_json: bool) -> None:
    """Write report.html, a single file for any browser, online or not, and its plots as PNG files beside it.

    RUN is a run's directory, its name, or `latest`.
    """
    from fl_app.errors import UsageError
    from server.app.run_directory import RunDirectory
    from server.display.report import write_report

    reported = RunDirectory.find(run, Path(runs))
    try:
        page, pictures = write_report(reported)
    except OSError as error:
        raise UsageError(f"{reported.path}: the report cannot be written: {error.strerror}") from error
    document = {"report": str(page), "pictures": [str(path) for path in pictures]}
    emit(document, as_json, lambda: echo("\n".join([str(page), *document["pictures"]])))
    if show:
        import webbrowser

        if not webbrowser.open(page.resolve().as_uri()):
            echo(f"there is no browser here; copy {page} to where there is one: it needs no other file", err=True)
