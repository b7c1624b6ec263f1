"""Resuming a run that ended early: in the same directory, from the model of the last completed round."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from fl_app.config import RunConfig
from fl_app.errors import UsageError
from fl_app.federation.kinds import Federation, find_federation
from server.app.checkpoint import Checkpoint
from server.app.results import Resumption
from server.app.run_directory import RunDirectory
from server.modeller.callbacks import Callback
from server.modeller.launch import Follow, carry_out, deadline_of

_FIELDS_OF_THE_END = ("error", "data_error", "approvals", "step")


def resume(
    run: RunDirectory,
    federation: Federation | None = None,
    *,
    rounds: int | None = None,
    hello_timeout: float | None = None,
    step_timeout: float | None = None,
    follow: Follow | None = None,
    callbacks: Sequence[Callback] = (),
) -> RunDirectory:
    """Continue from the run's checkpoint until all its rounds are completed, and return its directory.

    All other settings remain. A round that pods have answered is never requested again.

    Parameters
    ----------
    federation : Federation or None
        Where to reach its pods; None: as before.
    rounds : int or None
        A larger number of rounds than it began with; the learning rate decays over all of them. Not in a private run,
        whose rounds share what it may cost.
    hello_timeout, step_timeout : float or None
        Other time limits, in seconds.
    follow, callbacks
        See `server.modeller.launch.fit`.

    Raises
    ------
    UsageError
        If the run is completed or in progress, or has no checkpoint.
    FitFailed, Interrupted
        If it ended early once more; it can be resumed again.
    """
    config = _changed(run, rounds, hello_timeout, step_timeout)
    with run.carried_out():
        checkpoint = _checkpoint_of(run)
        reached = federation or find_federation(run.request().source, Path.cwd())
        request = run.request().changed(
            run=config.model_dump(mode="json"), federation=reached.name, source=reached.source
        )
        run.write_request(request)
        _note_resumption(run, checkpoint)
        carry_out(run, reached, deadline_of(config), follow, callbacks)
    return run


def resume_named(
    named: str | Path,
    federation: Federation | None,
    config: RunConfig,
    *,
    runs: Path,
    follow: Follow | None = None,
    callbacks: Sequence[Callback] = (),
) -> RunDirectory:
    """Resume the run ``named`` (see `RunDirectory.find`), whose settings must be those in ``config``.

    Raises
    ------
    UsageError
        If it began with other settings, apart from time limits and the number of rounds; or as for `resume`.
    """
    run = RunDirectory.find(named, runs)
    changeable = {"rounds", "hello_timeout", "step_timeout"}
    if others := [name for name, value in run.config() if name not in changeable and value != getattr(config, name)]:
        raise UsageError(
            f"run {run.name} was begun with other settings of {', '.join(others)}: give those it began with"
        )
    return resume(
        run,
        federation,
        rounds=config.rounds,
        hello_timeout=config.hello_timeout,
        step_timeout=config.step_timeout,
        follow=follow,
        callbacks=callbacks,
    )


def _changed(run: RunDirectory, rounds: int | None, hello: float | None, step: float | None) -> RunConfig:
    config, training = run.config(), run.results().training
    begun = training.rounds if training else config.most_rounds
    if rounds is not None and rounds < begun:
        raise UsageError(f"the run was begun with {begun} rounds; a resumed run may have more, not {rounds}")
    if config.privacy and rounds not in (None, begun):
        raise UsageError(
            f"the run has privacy: its {begun} rounds share what it may cost, and further ones would cost more"
        )
    changes = {"rounds": rounds, "hello_timeout": hello, "step_timeout": step}
    return RunConfig(**{**dict(config), **{name: value for name, value in changes.items() if value is not None}})


def _checkpoint_of(run: RunDirectory) -> Checkpoint:
    """Return the checkpoint from which the run continues; raises `UsageError` if it cannot be resumed."""
    results = run.results()
    if results.status == "completed":
        raise UsageError(f"run {run.name} is completed: there is nothing to resume; `fl-app runs show` shows it")
    if not run.checkpoint_path.exists():
        raise UsageError(
            f"run {run.name} has no checkpoint: it ended before its first round was completed, and the pods sum their "
            "statistics once for each run; begin anew with `fl-app fit`"
        )
    if (began_as := results.run_id or run.name) != run.name:
        raise UsageError(f"{run.path}: pods know this run as {began_as}; give its directory that name back")
    run.encoding()
    return Checkpoint.load(run.checkpoint_path)


def _note_resumption(run: RunDirectory, checkpoint: Checkpoint) -> None:
    results = run.results()
    resumption = Resumption(
        time=datetime.now(UTC).isoformat(timespec="seconds"),
        after=checkpoint.number,
        status=results.status,
        why=results.error or "the process that ran it ended",
    )
    continued = results.without(*_FIELDS_OF_THE_END).changed(
        run_id=run.name, status="running", rounds=checkpoint.rounds, resumed=(*results.resumed, resumption)
    )
    run.write_results(continued)
