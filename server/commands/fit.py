"""``fl-app fit`` and ``fl-app demo``."""

import json
import shlex
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self, TypeVar, get_args

import click
from click.core import ParameterSource

from fl_app.config import RunConfig, StrategyName
from fl_app.errors import UsageError
from fl_app.federation.kinds import Federation, census_federation, find_federation
from fl_app.flower.protocol_settings import Weighting
from fl_app.host.column_file import read_columns
from fl_app.host.echo import echo
from fl_app.hub.command import no_browser_option, port_option
from fl_app.privacy.settings import Privacy
from fl_app.secagg.field import FIELD_31, FIELD_61
from fl_app.tabular.class_weights import ClassWeight
from fl_app.tabular.column_spec import ColumnSpec
from fl_app.tabular.early_stopping import stopping_from_text
from fl_app.tabular.folds import FOLD_COUNTS
from fl_app.tabular.network_source import digest_of, read_source
from fl_app.tabular.regime import usual_rate
from fl_app.tabular.regression import LOSSES, Loss
from fl_app.tabular.settings import ARCHITECTURES, AUTO_ARCHITECTURE, OWN_ARCHITECTURE, DataStructure, Optimizer
from fl_app.tabular.threshold import ThresholdRule
from fl_app.validation import counted, names_in
from server.app.results import Results
from server.app.run_directory import RunDirectory
from server.commands.folds import cross_validate
from server.commands.hub import hub_beside
from server.commands.output import (
    Stopped,
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
from server.display.groups import show_groups
from server.display.importance import show_importance
from server.display.progress import Progress, matrix_table, results_table
from server.modeller.folds.carry_out import plan
from server.modeller.folds.directory import FoldsDirectory
from server.modeller.launch import FitFailed, Follow, Interrupted
from server.modeller.launch import fit as carry_out_fit
from server.modeller.resume import resume as resume_run

_CHANGEABLE = {"resume", "federation", "rounds", "timeout", "step_timeout", "verbose", "runs", "as_json"}
"""The options that may be given with --resume."""
_CHANGEABLE_OF_FOLDS = {"resume", "federation", "verbose", "runs", "as_json"}
"""Those that may where it is a cross-validation that goes on."""
_UNFIT_FOR_PRIVACY = {
    "local_epochs": "a round is one step over all rows",
    "local_steps": "a round is one step over all rows",
    "batch_size": "a round is one step over all rows",
    "optimizer": "the step is that of gradient descent, whose rate follows from epsilon",
    "lr": "the rate of the steps follows from epsilon",
    "lr_decay": "the rate of the steps follows from epsilon",
    "weight_decay": "the step is that of gradient descent, whose rate follows from epsilon",
    "clip_norm": "each row's gradient is clipped already",
    "strategy": "what is summed are gradients, and nothing is averaged",
    "strategy_params": "what is summed are gradients, and nothing is averaged",
    "weighting": "what is summed are gradients, and each row counts the same",
    "loss": "only classes are learnt with privacy",
    "early_stopping": "no round is evaluated, so nothing stops it before its last",
    "class_weight": "each row counts the same, or its noise would not do",
    "threshold": "the noise in its few score cells would choose it",
    "folds": "each of its runs would cost epsilon again",
    "network": "the noise is for gradients of fl-app's own networks",
    "group_by": "its counts are too few for the noise",
    "importance": "the sums of each column would cost epsilon",
    "compact": "in the small field noise would be rounded off",
    "plain": "it takes secure sums to hide a pod in its share of the noise",
}
"""The options that a run with --privacy has no use for, and why."""
_DEFAULTS = {name: field.default for name, field in RunConfig.model_fields.items()}
_FOLLOWS = "[default: follows from the table]"
_Command = TypeVar("_Command", bound=Callable[..., None])


@dataclass(frozen=True)
class TrainingOptions:
    """The options that fit and demo share, as the command line gives them; see `training_options`."""

    rounds: int | None
    local_epochs: int | None
    local_steps: int | None
    batch_size: int | None
    optimizer: str | None
    lr: float | None
    lr_decay: float | None
    architecture: str | None
    network: Path | None
    positive: str | None
    loss: Loss | None
    class_weight: ClassWeight | None
    threshold: ThresholdRule
    min_bin_rows: int
    weight_decay: float | None
    clip_norm: float | None
    strategy: StrategyName
    strategy_params: str
    early_stopping: str
    weighting: Weighting
    privacy: str
    compact: bool
    plain: bool
    seed: int
    timeout: float
    step_timeout: float
    importance: bool
    verbose: bool
    runs: str
    as_json: bool

    @classmethod
    def of(cls, context: click.Context) -> Self:
        """Return the options of one call, whose types click has checked.

        Raises
        ------
        UsageError
            If an option is given that has no part in a private run.
        """
        given = {field.name: context.params[field.name] for field in fields(cls)}
        if given["privacy"]:
            for name, why in _UNFIT_FOR_PRIVACY.items():
                if _given(context, name):
                    raise UsageError(f"--{name.replace('_', '-')} has no part in a run with --privacy: {why}")
        return cls(**given)


def _given(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is ParameterSource.COMMANDLINE


def training_options(command: _Command) -> _Command:
    """Add the options that fit and demo share."""
    for option in reversed(
        [
            click.option(
                "--rounds",
                type=int,
                help=f"Rounds; updates are averaged once in each.  {_FOLLOWS}",
            ),
            click.option("--local-epochs", type=int, help=f"Epochs that each pod trains in a round.  {_FOLLOWS}"),
            click.option("--local-steps", type=int, help="Batches that each pod trains in a round, instead of epochs."),
            click.option("--batch-size", type=int, help=f"Rows in a batch.  {_FOLLOWS}"),
            click.option(
                "--optimizer",
                help="An optimizer in torch.optim; without its options it is torch's, at a rate of"
                f" {usual_rate('SGD')} for SGD, else {usual_rate('AdamW')}.  {_FOLLOWS}",
            ),
            click.option(
                "--lr",
                type=float,
                help=f"The pods' learning rate in the first round.  {_FOLLOWS}",
            ),
            click.option("--lr-decay", type=float, help=f"What is left of --lr in the last round.  {_FOLLOWS}"),
            click.option(
                "--architecture",
                type=click.Choice([AUTO_ARCHITECTURE, *ARCHITECTURES]),
                help="The network; auto: mlp, additive or the mean of both (pair), whichever has the smallest loss on"
                f" the pods' validation rows after a third of the rounds.  {_FOLLOWS}",
            ),
            click.option(
                "--network",
                metavar="FILE",
                type=click.Path(exists=True, dir_okay=False, path_type=Path),
                help="A network of your own: a Python file with build(inputs), which pods' owners approve.",
            ),
            click.option(
                "--min-bin-rows",
                default=_DEFAULTS["min_bin_rows"],
                show_default=True,
                help="Fewest rows, of all pods together, in one bin of a number.",
            ),
            click.option(
                "--weight-decay",
                type=float,
                help="The optimizer's weight decay.  [default: that of torch.optim]",
            ),
            click.option(
                "--clip-norm",
                type=float,
                help="The norm to which the optimizer shortens longer gradients.  [default: follows from the table;"
                " with --optimizer none is shortened]",
            ),
            click.option(
                "--positive",
                metavar="CLASS",
                help="The class of f1, recall and precision.  [default: the second of two, the mean of more]",
            ),
            click.option(
                "--loss",
                type=click.Choice(LOSSES),
                help="What training makes small where the target is a number; given, few whole numbers are learnt as"
                " numbers too.  [default: squared]",
            ),
            class_weight_option,
            threshold_option,
            click.option(
                "--strategy",
                default=_DEFAULTS["strategy"],
                show_default=True,
                type=click.Choice(get_args(StrategyName)),
                help="How updates are averaged.",
            ),
            click.option(
                "--strategy-params",
                default="{}",
                metavar="JSON",
                help="The strategy's own parameters, such as '{\"eta\": 0.01}'.",
            ),
            click.option(
                "--early-stopping",
                default="auto",
                show_default=True,
                metavar="METRIC",
                help="Stop early once a metric no longer improves: a metric such as auc, or"
                " loss,patience=5,min_delta=0.001,restore_best=false; never; or auto: it follows from the table.",
            ),
            click.option(
                "--weighting",
                default=_DEFAULTS["weighting"],
                show_default=True,
                type=click.Choice(get_args(Weighting)),
                help="Weight pods by their training rows, or equally.",
            ),
            click.option(
                "--privacy",
                default="",
                metavar="EPSILON",
                help="Differential privacy of every row: epsilon=3, or epsilon=3,delta=1e-6. The smaller epsilon, the"
                " less any row shows. It sets rounds and architecture, unless they are given; options of batches,"
                " optimizer and averaging have no part in such a run.",
            ),
            click.option("--compact", is_flag=True, help="Use the field 2^31-1: half the bytes, coarser rounding."),
            click.option(
                "--plain", is_flag=True, help="No secure aggregation; pods refuse unless their owners allow it."
            ),
            click.option(
                "--seed",
                default=_DEFAULTS["seed"],
                show_default=True,
                help="Seed of the first parameters and the order of the rows.",
            ),
            click.option(
                "--timeout",
                default=_DEFAULTS["hello_timeout"],
                show_default=True,
                help="Seconds to wait for the pods to connect.",
            ),
            click.option(
                "--step-timeout",
                default=_DEFAULTS["step_timeout"],
                show_default=True,
                help="Seconds to wait for replies in a step.",
            ),
            click.option(
                "--importance",
                is_flag=True,
                help="Also tell how much worse the model is on the pods' test rows once a column is shuffled, for each"
                " column, if each pod's owner allows it (evaluation_importance).",
            ),
            click.option("--verbose", is_flag=True, help="List every difference between the pods' tables."),
            runs_option,
            json_option,
        ]
    ):
        command = option(command)
    return command


def run_config(
    options: TrainingOptions,
    pods: tuple[str, ...],
    datastructure: DataStructure,
    columns: ColumnSpec | None = None,
    group_by: str | None = None,
) -> RunConfig:
    """Return the settings of a run over ``pods`` that the options describe.

    Raises
    ------
    UsageError
        If a value is wrong, or two options contradict each other.
    """
    try:
        strategy_params = json.loads(options.strategy_params)
    except ValueError as error:
        raise UsageError(f"--strategy-params: not JSON: {error}") from error
    decay = {} if options.weight_decay is None else {"weight_decay": options.weight_decay}
    optimizer = None
    if options.optimizer or options.lr is not None or decay or options.clip_norm is not None:
        rate = usual_rate(options.optimizer) if options.optimizer and options.lr is None else options.lr
        params: dict[str, Any] = decay if rate is None else {"lr": rate, **decay}
        optimizer = Optimizer(name=options.optimizer, params=params, clip_norm=options.clip_norm)
    return RunConfig(
        pods=pods,
        datastructure=datastructure,
        columns=columns,
        group_by=group_by,
        importance=options.importance,
        architecture=_architecture(options),
        network=digest_of(read_source(options.network)) if options.network else None,
        positive=options.positive,
        loss=options.loss,
        class_weight=options.class_weight,
        decision=options.threshold,
        min_bin_rows=options.min_bin_rows,
        rounds=options.rounds,
        local_epochs=options.local_epochs,
        local_steps=options.local_steps,
        batch_size=options.batch_size,
        optimizer=optimizer,
        lr_decay=options.lr_decay,
        seed=options.seed,
        strategy=options.strategy,
        strategy_params=strategy_params,
        early_stopping=stopping_from_text(options.early_stopping),
        secure=not options.plain,
        privacy=Privacy.from_text(options.privacy) if options.privacy else None,
        prime_q=(FIELD_31 if options.compact else FIELD_61).prime,
        weighting=options.weighting,
        hello_timeout=options.timeout,
        step_timeout=options.step_timeout,
    )


def _architecture(options: TrainingOptions) -> str | None:
    if not options.network:
        return options.architecture
    if options.architecture:
        raise UsageError("--architecture and --network: give one of the two; a network of your own has no other name")
    return OWN_ARCHITECTURE


@click.command(
    epilog="Example: fl-app fit --federation hospitals --pods hospital-a,hospital-b --target outcome",
)
@federation_option
@pods_option
@target_option
@ignore_option
@columns_option
@click.option("--test-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Public test rows.")
@click.option(
    "--group-by",
    metavar="COLUMN",
    help="Tell the final counts apart by this column's categories, if each pod's owner allows it (evaluation_groups).",
)
@click.option(
    "--folds",
    type=click.Choice([str(count) for count in FOLD_COUNTS]),
    help="Cross-validate: as many runs, in each of which every pod holds out another fold of its rows. It keeps no"
    " model.",
)
@click.option(
    "--resume",
    metavar="RUN",
    help="Resume a run that ended early, after its last completed round. It keeps its settings; only --federation,"
    " --timeout, --step-timeout and more --rounds may be given.",
)
@training_options
@click.pass_context
def fit(
    context: click.Context,
    /,
    federation: str | None,
    pods: str,
    target: str | None,
    ignore: tuple[str, ...],
    columns: Path | None,
    test_file: Path | None,
    group_by: str | None,
    folds: str | None,
    resume: str | None,
    **_shared: object,
) -> None:
    """Train one model over several pods, and write it to a run directory."""
    options = TrainingOptions.of(context)
    if resume:
        _resume(context, options, resume, federation)
        return
    over = find_federation(federation, Path.cwd())
    datastructure = DataStructure(target=target or over.test_target or "TARGET", ignore_cols=names_in(ignore))
    if folds:
        if group_by:
            raise UsageError("--group-by has no part in a cross-validation: it is of the usual test rows alone")
        if options.importance:
            raise UsageError("--importance has no part in a cross-validation: it is of one model alone")
        if test_file:
            raise UsageError("--test-file has no part in a cross-validation: its figures are of the pods' rows")
        config = run_config(
            options, names_in(pods) or over.pod_identifiers, datastructure, read_columns(columns) if columns else None
        )
        network = read_source(options.network) if options.network else None
        planned = plan(Path(options.runs), config, over, int(folds), network=network)
        cross_validate(planned, over, as_json=options.as_json)
        return
    _train(over, names_in(pods) or over.pod_identifiers, datastructure, test_file, options, columns, group_by)


@click.command(epilog="Example: fl-app demo --rounds 3")
@click.option("--prepare", is_flag=True, help="Only write the demonstration's files; train nothing.")
@click.option("--hub", is_flag=True, help="Show it all in your browser, as it trains and afterwards, until Ctrl-C.")
@port_option
@no_browser_option
@training_options
@click.pass_context
def demo(context: click.Context, /, prepare: bool, hub: bool, port: int, no_browser: bool, **_shared: object) -> None:
    """Train on the two census pods, each with half of the table, in simulation on this machine."""
    options = TrainingOptions.of(context)
    census = census_federation()
    if prepare:
        emit({"federation": census.source}, options.as_json, lambda: echo(f"ready: {census.source}"))
        return
    datastructure = DataStructure(target=census.test_target or "TARGET")
    with hub_beside(census, options.runs, port, browser=not no_browser) if hub else nullcontext():
        _train(census, census.pod_identifiers, datastructure, None, options)


def _train(
    federation: Federation,
    pods: tuple[str, ...],
    datastructure: DataStructure,
    test_file: Path | None,
    options: TrainingOptions,
    columns: Path | None = None,
    group_by: str | None = None,
) -> None:
    config = run_config(options, pods, datastructure, read_columns(columns) if columns else None, group_by)
    network = read_source(options.network) if options.network else None

    def carry_out(follow: Follow) -> RunDirectory:
        return carry_out_fit(
            config, federation, runs=Path(options.runs), test_file=test_file, network=network, follow=follow
        )

    _show_run(f"{counted(len(pods), 'pod')}: {', '.join(pods)} ({federation.kind})", carry_out, options)


def _resume(context: click.Context, options: TrainingOptions, named: str, federation: str | None) -> None:
    """Resume a run, with those options only that may change."""
    given = {name for name in context.params if _given(context, name)}
    if fixed := given - _CHANGEABLE:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(fixed))
        raise UsageError(f"{names}: a resumed run keeps the settings it began with")
    elsewhere = find_federation(federation, Path.cwd()) if federation else None
    if several := FoldsDirectory.find(named, Path(options.runs)):
        if fixed := given - _CHANGEABLE_OF_FOLDS:
            names = ", ".join(f"--{name.replace('_', '-')}" for name in sorted(fixed))
            raise UsageError(f"{names}: a cross-validation that goes on keeps the settings it began with")
        cross_validate(several, elsewhere, resumed=True, as_json=options.as_json)
        return
    run = RunDirectory.find(named, Path(options.runs))
    config = run.config()

    def carry_out(follow: Follow) -> RunDirectory:
        return resume_run(
            run,
            elsewhere,
            rounds=options.rounds if "rounds" in given else None,
            hello_timeout=options.timeout if "timeout" in given else None,
            step_timeout=options.step_timeout if "step_timeout" in given else None,
            follow=follow,
        )

    head = f"resuming run {run.name} over {counted(len(config.pods), 'pod')}: {', '.join(config.pods)}"
    _show_run(head, carry_out, options)


def _show_run(head: str, carry_out: Callable[[Follow], RunDirectory], options: TrainingOptions) -> None:
    """Carry a run out, and show its progress and its results."""
    errors = console(errors=True)
    errors.print(head, highlight=False)
    try:
        with Progress(errors, verbose=options.verbose) as progress:
            run = carry_out(progress)
    except FitFailed as error:
        if error.approvals:
            errors.print(matrix_table(error.approvals))
        raise
    except Interrupted as error:
        raise Stopped(str(error)) from None
    results = run.results()
    emit({**results.document(), "directory": str(run.path)}, options.as_json, lambda: _show(run, results))


def _show(run: RunDirectory, results: Results) -> None:
    out = console()
    out.print(results_table(results))
    show_groups(out, results.groups)
    show_importance(out, results.importance)
    if results.secure_aggregation and results.secure_aggregation.enabled and not results.private:
        out.print(
            "Only sums over all pods left them. A pod alone on the public test file is not shown:"
            " its model never exists in the clear.",
            highlight=False,
        )
    out.say(f"model    {run.path / 'model.safetensors'}")
    out.say(f"results  {run.path / 'results.json'}")
    own = f" --network {shlex.quote(str(run.network_path))}" if run.network_path.exists() else ""
    out.print(
        f"next     fl-app export {run.name} --format safetensors -o model.safetensors{own}",
        soft_wrap=True,
        highlight=False,
    )
