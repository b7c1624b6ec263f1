"""``fl-app export``."""

from pathlib import Path

import click

from server.commands.output import emit, json_option, runs_option


@click.command(epilog="Example: fl-app export latest --format pt -o model.pt")
@click.argument("model", default="latest")
@click.option(
    "--format",
    "form",
    type=click.Choice(["pt", "safetensors"]),
    help="Of the file written  [default: by the name of the output, else safetensors]",
)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="[default: ./model.FORMAT]")
@click.option("--force", is_flag=True, help="Overwrite the output if it exists.")
@runs_option
@json_option
def export(model: str, form: str | None, output: Path | None, force: bool, runs: str, as_json: bool) -> None:
    """Write the model of a run, or of a model file, to a file that needs nothing else.

    MODEL is a run's directory, its name, `latest`, or a .pt or .safetensors file.
    """
    from fl_app.errors import UsageError
    from server.run_directory import find_model

    source = find_model(model, Path(runs))
    form = form or (output.suffix.removeprefix(".") if output else "safetensors")
    target = output or Path(f"model.{form}")
    if target.suffix != f".{form}":
        raise UsageError(f"{target}: the name of a {form} file ends in .{form}; or leave --format out")
    if target.exists() and not force:
        raise UsageError(f"{target} exists already; choose another name, or overwrite it with --force")

    from fl_app.tabular.model_file import TrainedModel

    trained = TrainedModel.load(source)
    trained.save(target)
    document = {"model": str(target), "format": form, "source": str(source), "classes": list(trained.classes)}
    emit(document, as_json, lambda: click.echo(f"wrote {target}"))
