"""``fl-app pod init``: from a table to a pod."""

import json
import math
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from client.commands.options import home_option, json_option
from fl_app.errors import UsageError
from fl_app.host.echo import echo

if TYPE_CHECKING:
    from client.site.table_description import TableDescription

_PLAIN = {
    "number": "numbers",
    "few whole numbers": "few whole numbers, each a number or a target",
    "category": "categories",
}


@click.command(epilog="Example: fl-app pod init data.csv --name hospital-a")
@click.argument("table", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--name", help="The pod's name  [default: the table's]")
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="Pod file  [default: NAME.yaml]")
@click.option("--minimum-cohort", type=click.IntRange(min=2), metavar="N", help="Fewest pods in a sum  [default: 3]")
@click.option(
    "--epsilon",
    type=click.FloatRange(min=0, min_open=True),
    metavar="E",
    help="Most that all runs together, ever, may tell of a row; no run without privacy is answered  [default: none]",
)
@click.option(
    "--ignore",
    metavar="COL,...",
    multiple=True,
    help="Columns of which nothing leaves the pod, not even the name; may be repeated; '\"a, b\"' is one name.",
)
@click.option(
    "--read-options",
    metavar="OPTIONS",
    help="How the file is written, where it is not found out: 'sep: \";\", encoding: latin-1'.",
)
@home_option
@json_option
def init(
    table: Path,
    name: str | None,
    output: Path | None,
    minimum_cohort: int | None,
    epsilon: float | None,
    ignore: tuple[str, ...],
    read_options: str | None,
    home: Path | None,
    as_json: bool,
) -> None:
    """Set up a pod for TABLE (CSV or Parquet): a pod file, keys, a card, and approval of the installed app version.

    Only a card is ever overwritten. Nothing leaves this machine.
    """
    from client.site.approved_apps import Apps
    from client.site.pod_template import pod_text
    from client.site.table_description import describe_table
    from fl_app.host.bundle import build
    from fl_app.host.card import check_writable
    from fl_app.host.party_keys import pod_card
    from fl_app.pod.pod_file import load_pod
    from fl_app.system.files import create_file
    from fl_app.system.home import NAME_RULE, is_pod_name, pod_home
    from fl_app.tabular.read_options import is_parquet, options_in

    if epsilon is not None and not math.isfinite(epsilon):
        raise UsageError(f"--epsilon {epsilon}: expected a finite number above 0")
    name = name or re.sub(r"[^a-z0-9._-]+", "-", table.name.partition(".")[0].lower())
    if not is_pod_name(name):
        raise UsageError(f"{name!r}: {NAME_RULE}; give one with --name")
    file = output or Path(f"{name}.yaml")
    if file.suffix not in (".yaml", ".yml"):
        raise UsageError(f"{file}: a pod file made here ends in .yaml")
    if not file.parent.is_dir():
        raise UsageError(f"{file}: the pod file cannot be written: there is no directory {file.parent}")
    if file.exists():
        raise _taken(file)
    card_file = file.with_name(f"{name}.card")
    check_writable(card_file)
    options = options_in(read_options, parquet=is_parquet(table)) if read_options else None
    description = describe_table(table, name, ignore, options)
    terms = {"minimum_cohort": minimum_cohort, "epsilon": epsilon}
    given = {term: value for term, value in terms.items() if value is not None}
    text = pod_text(description, name, _seen_from(table, file.parent), given)
    try:
        create_file(file, text.encode(), mode=0o644)
    except FileExistsError as error:
        raise _taken(file) from error
    except OSError as error:
        raise UsageError(f"{file}: the pod file cannot be written: {error.strerror}") from error
    load_pod(file)
    card = pod_card(name, home)
    card.write(card_file)
    version = Apps(pod_home(name, home)).approve(build())
    document = {
        "name": name,
        "file": str(file),
        "card": str(card_file),
        "fingerprint": card.fingerprint,
        "app": version,
        "rows": description.rows,
        "columns": {column.name: "date" if column.date else column.kind for column in description.schema.columns},
        "looks": {column.name: column.look for column in description.columns},
        "reasons": {column.name: column.text for column in description.columns},
        "to_consider": description.doubtful,
        "remarks": description.remarks,
    }
    if as_json:
        echo(json.dumps(document, indent=1))
        return
    echo(f"{file}: the pod {name}, {description.rows} rows, {len(description.schema.columns)} columns")
    for line in _lines(description):
        echo(f"  {line}")
    echo(f"{card_file}: its card, fingerprint {card.fingerprint}; the private keys stay in {pod_home(name, home)}")
    echo(f"approved version {version[:12]} of the app, the one installed here; the pod runs no other")
    echo(
        f"\nNext: read {file}. Give {card_file.name} to the operator and to the other owners, get theirs, compare "
        f"fingerprints by telephone, and\n  fl-app pod run {file} --federation FILE --approve THEIR.card"
    )


def _lines(description: "TableDescription") -> list[str]:
    """Return what the owner is told: plain columns together, and a line for each of which there is more to say."""
    options = description.source.read_options
    lines = [*description.remarks, *([f"read with {json.dumps(dict(options), ensure_ascii=False)}"] if options else [])]
    plain: dict[str, list[str]] = {}
    for column in description.columns:
        if column.look in _PLAIN and not column.notes:
            plain.setdefault(_PLAIN[column.look], []).append(column.name)
    lines += [f"{what}: {', '.join(names)}" for what, names in plain.items()]
    listed = {name for names in plain.values() for name in names}
    others = [column for column in description.columns if column.name not in listed]
    return [*lines, *(f"column {column.name!r}: {column.text}" for column in others)]


def _taken(file: Path) -> UsageError:
    return UsageError(f"{file}: there is such a file already, and it is not overwritten; -o names another")


def _seen_from(table: Path, directory: Path) -> str:
    """Return the table's path as written into a file in ``directory``: relative if it lies there or further down."""
    whole = Path(os.path.abspath(table))
    base = Path(os.path.abspath(directory))
    return str(whole.relative_to(base) if whole.is_relative_to(base) else whole)
