"""Print the table of a policy's terms for docs/pod-owner.md, from the fields of `fl_app.Policy`.

Run it in the repository: ``python scripts/policy_table.py [--write]``.
"""

import json
from pathlib import Path

import click
from annotated_types import Ge, Gt

from fl_app import Policy

PAGE = Path(__file__).parents[1] / "docs" / "pod-owner.md"
HEAD, END = "<!-- terms of the policy -->\n", "<!-- end of the terms -->\n"


def table() -> str:
    """Return the terms as a Markdown table: name, default, least value, meaning."""
    rows = ["| term | default | least | |", "| --- | --- | ---: | --- |"]
    for name, field in Policy.model_fields.items():
        default = "none" if field.default is None else f"`{json.dumps(field.default)}`"
        least = next((str(bound.ge) for bound in field.metadata if isinstance(bound, Ge)), "")
        least = next((f"above {bound.gt}" for bound in field.metadata if isinstance(bound, Gt)), least)
        rows.append(f"| `{name}` | {default} | {least} | {field.description} |")
    return "\n".join(rows) + "\n"


def page(text: str) -> str:
    """Return the page with the table as it is now, between its marks."""
    before, _, rest = text.partition(HEAD)
    return f"{before}{HEAD}{table()}{END}{rest.partition(END)[2]}"


@click.command()
@click.option("--write", is_flag=True, help="Write the table into docs/pod-owner.md.")
def main(write: bool) -> None:
    """Print the table."""
    if write:
        PAGE.write_text(page(PAGE.read_text()))
    click.echo(table(), nl=False)


if __name__ == "__main__":
    main()
