"""``fl-app fit --folds``: a cross-validation from the command line."""

from pathlib import Path

from fl_app.errors import RunFailed
from fl_app.federation.kinds import Federation
from fl_app.validation import counted
from server.commands.output import Stopped, console, emit
from server.display.folds import write_page
from server.display.folds.progress import FoldsProgress
from server.display.folds.table import folds_table, held_out
from server.display.progress import matrix_table
from server.modeller.folds.carry_out import carry_out, how_to_go_on
from server.modeller.folds.directory import CrossValidation, FoldsDirectory
from server.modeller.launch import FitFailed, Interrupted


def cross_validate(
    directory: FoldsDirectory, federation: Federation | None, *, resumed: bool = False, as_json: bool = False
) -> None:
    """Carry a cross-validation out, or go on with it, and show its progress and its figures.

    Raises
    ------
    RunFailed
        If it ended early.
    """
    validation = _carried_out(directory, federation, resumed=resumed)
    page = write_page(directory)
    document = {**validation.document(), "directory": str(directory.path), "page": str(page)}
    emit(document, as_json, lambda: _show(directory, validation, page))
    if validation.status == "stopped":
        raise RunFailed(f"{validation.why}; {how_to_go_on(directory)}")


def _carried_out(directory: FoldsDirectory, federation: Federation | None, *, resumed: bool) -> CrossValidation:
    errors, validation = console(errors=True), directory.read()
    verb, pods = "going on with" if resumed else "cross-validation", validation.settings.get("pods", ())
    errors.print(f"{verb} {validation.folds_id} over {counted(len(pods), 'pod')}: {', '.join(pods)}", highlight=False)
    try:
        with FoldsProgress(errors) as progress:
            progress.begin(validation)
            validation = carry_out(directory, federation, follow=progress)
            progress.ended(validation)
    except FitFailed as error:
        if error.approvals:
            errors.print(matrix_table(error.approvals))
        raise RunFailed(f"{error}; {how_to_go_on(directory)}") from error
    except Interrupted as error:
        raise Stopped(str(error)) from None
    return validation


def _show(directory: FoldsDirectory, validation: CrossValidation, page: Path) -> None:
    out = console()
    out.print(folds_table(validation))
    if told := held_out(validation):
        out.print(told, highlight=False)
    out.say(f"folds    {directory.path / 'folds.json'}")
    out.say(f"page     {page}")
    out.say("no model is kept for use: `fl-app fit` without --folds trains one on the usual rows")
