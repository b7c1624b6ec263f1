"""``fl-app pod column``: what an owner says of one column."""

import json
from pathlib import Path
from typing import Any

import click

from client.commands.options import json_option
from fl_app.errors import UsageError
from fl_app.host.echo import echo


@click.command(epilog="Example: fl-app pod column hospital-a.yaml weight --unit kg --bounds 0,300")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("name")
@click.option(
    "--kind",
    type=click.Choice(["categorical", "continuous", "date", "auto"]),
    help="Its kind; auto: as its cells suggest.",
)
@click.option("--ignore/--no-ignore", default=None, help="Whether nothing of it leaves the pod, not even its name.")
@click.option("--optional/--no-optional", default=None, help="Whether other pods may lack it.")
@click.option(
    "--unit", help="In which unit its numbers are; '' takes it out. Of a date: days, hours, minutes, seconds."
)
@click.option("--bounds", metavar="LOW,HIGH", help="Its public bounds; values beyond them are cut off.")
@click.option("--parts", metavar="PART,...", help="Of a date: month, weekday, hour, learnt as categories; '' for none.")
@json_option
def column(
    file: Path,
    name: str,
    kind: Any,
    ignore: bool | None,
    optional: bool | None,
    unit: str | None,
    bounds: str | None,
    parts: str | None,
    as_json: bool,
) -> None:
    """Change what the pod FILE says of the column NAME, if its table agrees; the file's comments stay."""
    from client.site.pod_column import ColumnSettings, set_column
    from fl_app.validation import names_in

    settings = ColumnSettings(
        kind,
        ignore,
        optional,
        unit,
        _bounds(bounds) if bounds is not None else None,
        None if parts is None else names_in(parts),
    )
    if settings == ColumnSettings():
        raise UsageError("say what to change: --kind, --ignore, --optional, --unit, --bounds or --parts")
    published = set_column(file, name, settings)
    if as_json:
        facts = published.model_dump(mode="json", exclude_defaults=True) if published else None
        echo(json.dumps({"file": str(file), "column": name, "publishes": facts}, indent=1))
        return
    echo(f"{file}: {name}: {published.summary if published else 'nothing of it leaves the pod'}")
    echo(f"a pod that runs reads the file anew; `fl-app pod check {file}` looks at all of it", err=True)


def _bounds(text: str) -> tuple[str, str]:
    ends = [end.strip() for end in text.split(",")]
    if len(ends) != 2:
        raise UsageError(f"--bounds {text}: give the least and the greatest number, as in 0,120; of a date two days")
    return ends[0], ends[1]
