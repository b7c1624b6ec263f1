"""``fl-app export``."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fl_app.host.echo import echo
from server.commands.output import emit, json_option, network_option, runs_option

if TYPE_CHECKING:
    from fl_app.tabular.model_file import TrainedModel


@click.command(epilog="Example: fl-app export latest --format onnx -o model.onnx")
@click.argument("model", default="latest")
@click.option(
    "--format",
    "form",
    type=click.Choice(["safetensors", "pt", "onnx", "pt2", "py"]),
    help="Format of the file.  [default: by the name of the output, else safetensors]",
)
@click.option("-o", "--output", type=click.Path(dir_okay=False, path_type=Path), help="[default: ./model.FORMAT]")
@network_option
@click.option("--force", is_flag=True, help="Overwrite the output and its card if they exist.")
@runs_option
@json_option
def export(
    model: str, form: str | None, output: Path | None, network: Path | None, force: bool, runs: str, as_json: bool
) -> None:
    """Export the model of a run, or of a model file, to a self-contained file with a model card beside it.

    MODEL is a run's directory, its name, `latest`, or a .pt or .safetensors file. Each format carries preprocessing,
    classes and schema. fl-app reads .safetensors and .pt, any ONNX runtime reads .onnx (to write it takes the extra
    fl-app[onnx]), and PyTorch reads .pt2. A network of its modeller's own is written as .py, for you to read; nothing
    of it is run unless you give it as --network.
    """
    from fl_app.errors import UsageError
    from server.app.run_directory import find_model

    source = find_model(model, Path(runs))
    form = form or (output.suffix.removeprefix(".") if output else "safetensors")
    target = output or Path(f"model.{form}")
    if target.suffix != f".{form}":
        raise UsageError(f"{target}: the name of a {form} file ends in .{form}; rename it, or leave --format out")

    from fl_app.system.files import replace_file
    from fl_app.tabular.model_file import TrainedModel, source_in
    from fl_app.tabular.network_source import read_source
    from server.exports import formats
    from server.exports.model_card import card, card_path

    if form == "py":
        if (text := source_in(source)) is None:
            raise UsageError(f"{source}: its network is one of fl-app's own, and has no source to write")
        if target.exists() and not force:
            raise UsageError(f"{target} already exists; choose another name, or overwrite it with --force")
        replace_file(target, text.encode())
        emit({"network": str(target), "source": str(source)}, as_json, lambda: echo(f"wrote {target}"))
        return
    card_file = card_path(target)
    for path in (target, card_file):
        if path.exists() and not force:
            raise UsageError(f"{path} already exists; choose another name, or overwrite it with --force")
    trained = TrainedModel.load(source, read_source(network) if network else None)
    formats.export(trained, target)
    replace_file(card_file, card(trained, target, _results(source)).encode())
    document = {
        "model": str(target),
        "card": str(card_file),
        "format": form,
        "source": str(source),
        "classes": list(trained.classes),
    }
    emit(document, as_json, lambda: _show(document, trained))


def _results(source: Path) -> dict[str, Any] | None:
    """Return the results of the run to which the model file ``source`` belongs, or None."""
    from server.app.run_directory import RunDirectory

    run = RunDirectory(source.resolve().parent)
    return run.results().document() if (run.path / "config.json").is_file() else None


def _show(document: dict[str, Any], trained: "TrainedModel") -> None:
    echo(f"wrote {document['model']} and {document['card']}")
    if document["format"] == "pt2":
        from server.exports.pt2 import loader

        echo(f"\nTo score a CSV file with it, without fl-app (python score.py {document['model']} rows.csv):\n")
        echo(loader(trained.encoding))
