"""``fl-app fit --folds``: a cross-validation from the command line."""

from pathlib import Path

from fl_app.errors import RunFailed
from fl_app.federation.kinds import Federation
from server.commands.output import console, emit
from server.commands.several import carried_out
from server.display.folds import write_page
from server.display.folds.progress import FoldsProgress
from server.display.folds.table import folds_table, held_out
from server.modeller.folds.carry_out import carry_out, how_to_go_on
from server.modeller.folds.directory import CrossValidation, FoldsDirectory


def cross_validate(
    directory: FoldsDirectory, federation: Federation | None, *, resumed: bool = False, as_json: bool = False
) -> None:
    """Carry a cross-validation out, or go on with it, and show its progress and its figures.

    Raises
    ------
    RunFailed
        If it ended early.
    """
    validation = carried_out(
        directory,
        "going on with" if resumed else "cross-validation",
        tuple(directory.read().settings.get("pods", ())),
        FoldsProgress,
        lambda follow: carry_out(directory, federation, follow=follow),
        how_to_go_on(directory),
    )
    page = write_page(directory)
    document = {**validation.document(), "directory": str(directory.path), "page": str(page)}
    emit(document, as_json, lambda: _show(directory, validation, page))
    if validation.status == "stopped":
        raise RunFailed(f"{validation.why}; {how_to_go_on(directory)}")


def _show(directory: FoldsDirectory, validation: CrossValidation, page: Path) -> None:
    out = console()
    out.print(folds_table(validation))
    if told := held_out(validation):
        out.print(told, highlight=False)
    out.say(f"folds    {directory.path / 'folds.json'}")
    out.say(f"page     {page}")
    out.say("no model is kept for use: `fl-app fit` without --folds trains one on the usual rows")
