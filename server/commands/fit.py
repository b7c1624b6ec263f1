"""``fl-app fit`` and ``fl-app demo``."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from fl_app.config import RunConfig
from fl_app.errors import RunFailed, UsageError
from fl_app.federation.kinds import Federation, census_federation, find_federation
from fl_app.tabular.early_stopping import EarlyStopping
from fl_app.tabular.encoding import MIN_BIN_ROWS
from fl_app.tabular.settings import ARCHITECTURES, DEFAULT_ARCHITECTURE, DataStructure, Optimizer
from server.app.results import Results
from server.app.run_directory import RunDirectory
from server.commands.output import console, emit, federation_option, json_option, runs_option
from server.display.progress import Progress, matrix_table, results_table
from server.modeller.launch import FitFailed, Follow, Interrupted
from server.modeller.launch import fit as carry_out_fit
from server.modeller.resume import resume as carry_on

_CHANGEABLE = {"federation", "rounds", "timeout", "step_timeout", "runs", "as_json"}
"""What may be given to a run that is resumed."""


class Stopped(RunFailed):
    """A run that was ended by SIGINT or SIGTERM."""

    exit_code = 130


def _settings(command: Any) -> Any:
    """Add the options that fit and demo share."""
    for option in reversed(
        [
            click.option("--rounds", default=10, show_default=True, help="How often updates are averaged."),
            click.option("--local-epochs", type=int, help="Epochs a pod trains in a round  [default: 1]"),
            click.option("--local-steps", type=int, help="Batches a pod trains in a round, in place of epochs."),
            click.option("--batch-size", default=256, show_default=True),
            click.option("--optimizer", default="AdamW", show_default=True, help="A torch.optim name."),
            click.option("--lr", default=0.001, show_default=True, help="The pods' learning rate."),
            click.option("--lr-decay", default=0.02, show_default=True, help="What is left of it in the last round."),
            click.option(
                "--architecture", default=DEFAULT_ARCHITECTURE, show_default=True, type=click.Choice(ARCHITECTURES)
            ),
            click.option(
                "--min-bin-rows", default=MIN_BIN_ROWS, show_default=True, help="Rows, of all pods, in a number's bin."
            ),
            click.option(
                "--strategy",
                default="FedAvg",
                show_default=True,
                type=click.Choice(["FedAvg", "FedAdam", "FedAvgM", "FedProx"]),
            ),
            click.option("--strategy-params", default="{}", metavar="JSON", help="Such as '{\"eta\": 0.01}'."),
            click.option(
                "--early-stopping",
                default="",
                metavar="METRIC",
                help="End before the last round once a metric no longer improves, such as auc, or"
                " loss,patience=5,min_delta=0.001,restore_best=false.",
            ),
            click.option(
                "--weighting", default="examples", show_default=True, type=click.Choice(["examples", "equal"])
            ),
            click.option("--compact", is_flag=True, help="Field 2^31-1: half the bytes, a coarser step."),
            click.option(
                "--plain", is_flag=True, help="No secure aggregation; pods refuse unless their owners allow it."
            ),
            click.option("--seed", default=0, show_default=True),
            click.option("--timeout", default=60.0, show_default=True, help="Seconds for the pods to connect."),
            click.option("--step-timeout", default=600.0, show_default=True, help="Seconds for their answers."),
            runs_option,
            json_option,
        ]
    ):
        command = option(command)
    return command


@click.command(
    epilog="Example: fl-app fit --federation hospitals --pods hospital-a,hospital-b --target outcome",
)
@federation_option
@click.option("--pods", default="", metavar="A,B", help="Pods that train together  [default: all of the federation]")
@click.option("--target", help="Column to predict  [default: the federation's test_target, or TARGET]")
@click.option("--ignore", default="", metavar="A,B", help="Columns to leave out.")
@click.option("--test-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Public test rows.")
@click.option(
    "--resume",
    metavar="RUN",
    help="Go on with a run that ended too early, after its last completed round. Its settings stay; only --federation,"
    " --timeout, --step-timeout and more --rounds may be given.",
)
@_settings
@click.pass_context
def fit(
    context: click.Context,
    /,
    federation: str | None,
    pods: str,
    target: str | None,
    ignore: str,
    test_file: Path | None,
    resume: str | None,
    **settings: Any,
) -> None:
    """Train one model over several pods, and write it to a run directory."""
    if resume:
        _resume(context, resume, federation)
        return
    found = find_federation(federation, Path.cwd())
    names = tuple(name.strip() for name in pods.split(",") if name.strip()) or found.pod_identifiers
    datastructure = DataStructure(
        target=target or found.test_target or "TARGET",
        ignore_cols=tuple(name.strip() for name in ignore.split(",") if name.strip()),
    )
    _train(found, names, datastructure, test_file, **settings)


@click.command(epilog="Example: fl-app demo --rounds 3")
@click.option("--prepare", is_flag=True, help="Only lay the demonstration out; train nothing.")
@_settings
def demo(prepare: bool, **settings: Any) -> None:
    """Train on the two census pods, each with half of the table, in simulation on this machine."""
    found = census_federation()
    if prepare:
        emit({"federation": found.source}, settings["as_json"], lambda: click.echo(f"ready: {found.source}"))
        return
    _train(found, found.pod_identifiers, DataStructure(target=found.test_target or "TARGET"), None, **settings)


def _train(
    federation: Federation,
    pods: tuple[str, ...],
    datastructure: DataStructure,
    test_file: Path | None,
    *,
    as_json: bool,
    runs: str,
    **settings: Any,
) -> None:
    config = _config(pods, datastructure, **settings)
    head = f"{len(pods)} pods: {', '.join(pods)} ({federation.kind})"
    _show_run(
        head,
        lambda follow: carry_out_fit(config, federation, runs=Path(runs), test_file=test_file, follow=follow),
        as_json,
    )


def _resume(context: click.Context, named: str, federation: str | None) -> None:
    """Go on with a run; of all other options only those that may change are taken."""
    given = {
        name: value
        for name, value in context.params.items()
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    }
    if fixed := given.keys() - _CHANGEABLE - {"resume"}:
        options = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(fixed))
        raise UsageError(f"{options}: a resumed run goes on with the settings it began with")
    run = RunDirectory.find(named, Path(context.params["runs"]))
    config = run.config()
    head = f"run {run.name} goes on; {len(config.pods)} pods: {', '.join(config.pods)}"
    _show_run(
        head,
        lambda follow: carry_on(
            run,
            find_federation(federation, Path.cwd()) if federation else None,
            rounds=given.get("rounds"),
            hello_timeout=given.get("timeout"),
            step_timeout=given.get("step_timeout"),
            follow=follow,
        ),
        context.params["as_json"],
    )


def _show_run(head: str, carry_out: Callable[[Follow], RunDirectory], as_json: bool) -> None:
    """Have a run carried out, and show how it goes and what came of it."""
    errors = console(errors=True)
    errors.print(head, highlight=False)
    try:
        with Progress(errors) as progress:
            run = carry_out(progress)
    except FitFailed as error:
        if error.approvals:
            errors.print(matrix_table(error.approvals))
        raise
    except Interrupted as error:
        raise Stopped(str(error)) from None
    results = run.results()
    emit({**results.document(), "directory": str(run.path)}, as_json, lambda: _show(run, results))


def _config(
    pods: tuple[str, ...],
    datastructure: DataStructure,
    *,
    optimizer: str,
    lr: float,
    strategy_params: str,
    early_stopping: str,
    compact: bool,
    plain: bool,
    timeout: float,
    local_epochs: int | None,
    local_steps: int | None,
    **settings: Any,
) -> RunConfig:
    try:
        params = json.loads(strategy_params)
    except ValueError as error:
        raise UsageError(f"--strategy-params: not JSON: {error}") from error
    return RunConfig(
        pods=pods,
        datastructure=datastructure,
        optimizer=Optimizer(name=optimizer, params={"lr": lr}),
        strategy_params=params,
        early_stopping=EarlyStopping.from_text(early_stopping) if early_stopping else None,
        prime_q=2**31 - 1 if compact else 2**61 - 1,
        secure=not plain,
        hello_timeout=timeout,
        local_epochs=1 if local_epochs is None and local_steps is None else local_epochs,
        local_steps=local_steps,
        **settings,
    )


def _show(run: RunDirectory, results: Results) -> None:
    out = console()
    out.print(results_table(results))
    if results.secure_aggregation and results.secure_aggregation.enabled:
        out.print(
            "Only sums over all pods left them. A pod alone on the public test file is not shown:"
            " its model never exists in the clear.",
            highlight=False,
        )
    out.print(f"model    {run.path / 'model.safetensors'}", soft_wrap=True, highlight=False)
    out.print(f"results  {run.path / 'results.json'}", soft_wrap=True, highlight=False)
    out.print(
        f"next     fl-app export {run.name} --format safetensors -o model.safetensors", soft_wrap=True, highlight=False
    )
