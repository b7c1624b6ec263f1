"""``fl-app tune``."""

from pathlib import Path
from typing import Any, get_args

import click
from click.core import ParameterSource

from fl_app.config import RunConfig
from fl_app.errors import RunFailed, UsageError
from fl_app.federation.kinds import find_federation
from fl_app.flower.protocol_settings import Timing
from fl_app.host.column_file import read_columns
from fl_app.host.echo import echo
from fl_app.secagg.field import FIELD_31, FIELD_61
from fl_app.tabular.early_stopping import StoppingMetric
from fl_app.tabular.regression import LOSSES
from fl_app.tabular.settings import DataStructure
from fl_app.validation import names_in
from server.commands.output import (
    class_weight_option,
    columns_option,
    console,
    emit,
    federation_option,
    ignore_option,
    json_option,
    pods_option,
    runs_option,
    target_option,
    threshold_option,
)
from server.commands.several import carried_out
from server.display.tuning import write_page
from server.display.tuning.fit_command import fit_command
from server.display.tuning.progress import TuningProgress
from server.display.tuning.table import compared_on, in_words, trials_table
from server.display.words import number
from server.modeller.tuning.carry_out import (
    DEFAULT_ETA,
    DEFAULT_ROUNDS,
    DEFAULT_TRIALS,
    carry_out,
    how_to_go_on,
    plan,
)
from server.modeller.tuning.directory import Tuning, TuningDirectory
from server.modeller.tuning.space import read_space

_WITH_RESUME = {"resume", "federation", "final", "runs", "as_json"}
"""The options that may be given with --resume."""


@click.command(
    epilog="Example: fl-app tune --federation hospitals --target outcome --budget-rounds 200",
)
@federation_option
@pods_option
@target_option
@ignore_option
@columns_option
@click.option(
    "--test-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Public test rows, by which the final run is scored. No trial sees them.",
)
@click.option(
    "--space",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Values to try, a list for each setting (YAML or JSON).",
)
@click.option("--trials", default=DEFAULT_TRIALS, show_default=True, help="Settings that are tried at first.")
@click.option("--min-rounds", default=DEFAULT_ROUNDS, show_default=True, help="Rounds of the first, shortest runs.")
@click.option(
    "--eta",
    default=DEFAULT_ETA,
    show_default=True,
    help="Of so many trials one goes on, for so many times as many rounds.",
)
@click.option(
    "--budget-rounds", type=int, help="Most rounds of all runs together: as many trials as fit into it, up to --trials."
)
@click.option(
    "--metric",
    default="loss",
    show_default=True,
    type=click.Choice(get_args(StoppingMetric)),
    help="What is compared, on all pods' validation rows.",
)
@click.option("--final/--no-final", default=True, help="Train the best settings for the most rounds.  [default: final]")
@click.option(
    "--resume",
    metavar="ID",
    help="Go on with a tuning that ended early. It keeps its settings; only --federation and --final may be given.",
)
@click.option("--positive", metavar="CLASS", help="The class of f1, recall and precision, as for fit.")
@click.option("--loss", type=click.Choice(LOSSES), help="What training makes small where the target is a number.")
@class_weight_option
@threshold_option
@click.option("--compact", is_flag=True, help="Use the field 2^31-1: half the bytes, coarser rounding.")
@click.option("--seed", default=0, show_default=True, help="Seed of the trials, and of each run.")
@click.option(
    "--timeout", default=Timing.hello, show_default=True, help="Seconds to wait for the pods to connect, in each run."
)
@click.option("--step-timeout", default=Timing.step, show_default=True, help="Seconds to wait for replies in a step.")
@runs_option
@json_option
@click.pass_context
def tune(context: click.Context, /, resume: str | None, as_json: bool, **_given: object) -> None:
    """Try settings in short runs and the better ones in longer runs, and train the best: successive halving."""
    named = context.params
    elsewhere = find_federation(named["federation"], Path.cwd()) if named["federation"] or not resume else None
    given = {name for name in named if context.get_parameter_source(name) is ParameterSource.COMMANDLINE}
    if resume:
        if fixed := given - _WITH_RESUME:
            names = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(fixed))
            raise UsageError(f"{names}: a tuning that goes on keeps the settings it began with")
        directory = TuningDirectory.find(resume, Path(named["runs"]))
    else:
        directory = _planned(named)
    final = named["final"] if resume and "final" in given else None
    tuning = carried_out(
        directory,
        "going on with" if resume else "tuning",
        tuple(directory.read().settings.get("pods", ())),
        TuningProgress,
        lambda follow: carry_out(directory, elsewhere, final=final, follow=follow),
        how_to_go_on(directory),
    )
    page = write_page(directory)
    document = {
        **tuning.document(),
        "directory": str(directory.path),
        "page": str(page),
        "command": fit_command(tuning) if tuning.best else None,
    }
    emit(document, as_json, lambda: _show(directory, tuning, page))
    if tuning.status == "stopped":
        raise RunFailed(f"{tuning.why}; {how_to_go_on(directory)}")


def _planned(given: dict[str, Any]) -> TuningDirectory:
    """Write the directory of a new tuning, as the options of the command describe it."""
    over = find_federation(given["federation"], Path.cwd())
    columns, space = given["columns"], given["space"]
    base = RunConfig(
        pods=names_in(given["pods"]) or over.pod_identifiers,
        datastructure=DataStructure(
            target=given["target"] or over.test_target or "TARGET", ignore_cols=names_in(given["ignore"])
        ),
        columns=read_columns(columns) if columns else None,
        local_epochs=1,
        early_stopping=None,
        positive=given["positive"],
        loss=given["loss"],
        class_weight=given["class_weight"],
        decision=given["threshold"],
        prime_q=(FIELD_31 if given["compact"] else FIELD_61).prime,
        seed=given["seed"],
        hello_timeout=given["timeout"],
        step_timeout=given["step_timeout"],
    )
    return plan(
        Path(given["runs"]),
        base,
        over,
        space=read_space(space) if space else None,
        trials=given["trials"],
        rounds=given["min_rounds"],
        eta=given["eta"],
        budget_rounds=given["budget_rounds"],
        metric=given["metric"],
        final=given["final"],
        test_file=given["test_file"],
    )


def _show(directory: TuningDirectory, tuning: Tuning, page: Path) -> None:
    out = console()
    out.print(trials_table(tuning))
    if compared := compared_on(tuning):
        out.print(compared, highlight=False)
    out.say(f"trials   {directory.path / 'tune.json'}")
    out.say(f"page     {page}")
    if best := tuning.best:
        out.print(
            f"best     trial {best.trial} ({in_words(best.settings)}): {tuning.metric} {number(best.value)}",
            highlight=False,
            soft_wrap=True,
        )
        echo(f"again    {fit_command(tuning)}")
    if tuning.final:
        out.say(f"model    {directory.runs / tuning.final / 'model.safetensors'}")
