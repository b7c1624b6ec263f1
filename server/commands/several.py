"""What takes several runs, carried out from the command line: who takes part, its progress, and how it failed."""

from collections.abc import Callable

from fl_app.errors import RunFailed
from fl_app.validation import counted
from server.app.results import Results
from server.commands.output import Stopped, console
from server.display.progress import matrix_table
from server.display.several import SeveralProgress
from server.modeller.launch import FitFailed, Interrupted
from server.modeller.several_directory import Content, SeveralDirectory


def carried_out(
    directory: SeveralDirectory[Content],
    beginning: str,
    pods: tuple[str, ...],
    progress: type[SeveralProgress[Content]],
    carry_out: Callable[[Callable[[Content, Results], None]], Content],
    how_to_go_on: str,
) -> Content:
    """Carry it out, show its progress, and return what it has come to.

    Raises
    ------
    RunFailed
        If a run failed, with the command that goes on.
    Stopped
        If it was interrupted.
    """
    errors = console(errors=True)
    errors.print(f"{beginning} {directory.name} over {counted(len(pods), 'pod')}: {', '.join(pods)}", highlight=False)
    try:
        with progress(errors) as shown:
            shown.begin(directory.read())
            content = carry_out(shown)
            shown.ended(content)
    except FitFailed as error:
        if error.approvals:
            errors.print(matrix_table(error.approvals))
        raise RunFailed(f"{error}; {how_to_go_on}") from error
    except Interrupted as error:
        raise Stopped(str(error)) from None
    return content
