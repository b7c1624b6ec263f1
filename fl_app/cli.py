"""The command line: a group that imports a command only when it is called."""

import atexit
import gc
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import MappingProxyType
from typing import NamedTuple, NoReturn

import click

from fl_app.errors import FlAppError
from fl_app.host.echo import echo
from fl_app.system.printable import continued


class Command(NamedTuple):
    """Where a command is defined, and its line in the list of commands."""

    module: str
    summary: str


COMMANDS: Mapping[str, Command] = MappingProxyType(
    {
        "demo": Command("server.commands.fit", "Train on the two census pods, in simulation on this machine."),
        "fit": Command("server.commands.fit", "Train one model over several pods."),
        "tune": Command("server.commands.tune", "Try settings in short runs, and train the best."),
        "pods": Command("server.commands.pods", "Show a federation's pods and which of them approve each other."),
        "describe": Command("server.commands.describe", "Describe the pods' tables as one, from secure sums."),
        "pod": Command("client.commands.group", "Run and administer a pod of your own."),
        "modeller": Command("server.commands.modeller", "Make the modeller's own key and print its card."),
        "provision": Command(
            "server.commands.provision", "Set up a SuperLink, and register pods and modellers with it."
        ),
        "superlink": Command("server.commands.superlink", "Serve and administer a SuperLink that was provisioned."),
        "runs": Command("server.commands.runs", "List, show, compare, log and remove runs."),
        "export": Command(
            "server.commands.export", "Write a run's model as safetensors, pt, onnx or pt2, with a model card."
        ),
        "predict": Command("server.commands.predict", "Score a CSV file with a model."),
        "report": Command("server.commands.report", "Write an HTML report of a run, with its plots."),
        "hub": Command("server.commands.hub", "Show pods, runs and results in your browser."),
        "doctor": Command("server.commands.doctor", "Check this installation for problems."),
    }
)
"""Every command, in the order in which a newcomer meets them; each is a click command of its own name."""

_COLLECT_AFTER = 10_000
"""Objects after which the garbage collector looks for young garbage, in a process of the command line; Python's 700."""
_EPILOG = """\b
Exit codes:
  0    success
  1    failure, or the answer is no
  2    a wrong argument, setting or file
  130  stopped by Ctrl-C or SIGTERM

\b
Example: fl-app demo"""


class LazyGroup(click.Group):
    """A group whose commands are named here and imported when called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order in which a newcomer meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(COMMANDS[cmd_name].module), cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the summaries without importing a command."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.summary) for name, command in COMMANDS.items()])


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=_EPILOG,
)
@click.version_option(package_name="fl-app")
def group() -> None:
    """Train one tabular model over pods that never show their data."""


def main(arguments: Sequence[str] | None = None, *, command: click.Command = group, name: str = "fl-app") -> None:
    """Run the command line; a user's mistake ends in one line on standard error and a non-zero exit code.

    Parameters
    ----------
    arguments : sequence of str or None
        What follows the program's name; None: those of this process.
    command : click.Command
        The command to run, called ``name`` in its messages.
    """

    def leave(text: str, code: int) -> NoReturn:
        echo(continued(f"{name}: {text}"), err=True)
        sys.exit(code)

    if arguments is None:
        # What the commands import is most of their time: nothing of it is garbage, now or at the end.
        gc.set_threshold(_COLLECT_AFTER)
        atexit.register(gc.freeze)
    try:
        code = command.main(args=arguments, prog_name=name, standalone_mode=False)
    except click.exceptions.Abort:
        leave("stopped", 130)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(error.exit_code)
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else name
        message = " ".join(error.format_message().split()).rstrip(".")
        leave(f"{message}; see `{path} --help`", error.exit_code)
    except click.ClickException as error:
        leave(error.format_message(), error.exit_code)
    except FlAppError as error:
        leave(error.full_text, error.exit_code)
    except KeyboardInterrupt:
        leave("stopped", 130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:  # the machine's: a full disk, a file that is not this user's
        place = f"{error.filename}: " if error.filename else ""
        leave(f"{place}{error.strerror or error}", 1)
    sys.exit(code if isinstance(code, int) else 0)
