"""Checks of a pod before it goes online. They change nothing and contact no other pod."""

from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from client.site import flower_names
from client.site.approved_apps import Apps, hash_of
from fl_app.errors import DataError, FlAppError, UsageError
from fl_app.federation.kinds import DeployedFederation
from fl_app.host.findings import Finding
from fl_app.host.probe import check_superlink
from fl_app.pod.definition import Pod
from fl_app.system.home import PAUSED_FILE, pod_home
from fl_app.tabular.column_spec import ColumnSpec

_CLASSES = 20


def examine(
    pod: Pod, home: Path | None, federation: DeployedFederation | None, columns: ColumnSpec | None = None
) -> list[Finding]:
    """Check a pod whose file has been read, and the SuperLink of ``federation`` if one is given.

    Parameters
    ----------
    pod
        The pod.
    home
        Where its keys are; None means `fl_app_home`.
    federation
        How to reach the SuperLink; None skips that check.
    columns
        What a modeller proposes for the columns of all pods; None: nothing.
    """
    findings = [*_table(pod, columns), *_keys(pod, home), *_approvals(pod, home), *_apps(pod, home), _flower()]
    if federation is None:
        return [*findings, Finding("SuperLink", True, "not checked: give the operator's join file with --federation")]
    return [*findings, *check_superlink(federation)]


def _table(pod: Pod, columns: ColumnSpec | None) -> Iterator[Finding]:
    from client.app.pod_table import PARTS, PodTable
    from fl_app.tabular.schema import Schema

    try:
        table = PodTable.of(pod)
        sizes = [len(table.rows(part)) for part in PARTS]
    except FileNotFoundError:
        yield Finding("data", False, f"{pod.datasource.path.name}: no such file; check the datasource's path")
        return
    except (FlAppError, OSError) as error:
        yield Finding("data", False, error.full_text if isinstance(error, FlAppError) else str(error))
        return
    text = f"{len(table.cells)} rows: {', '.join(f'{n} for {part}' for n, part in zip(sizes, PARTS, strict=True))}"
    yield Finding("data", True, text)
    try:
        schema = Schema.from_json(table.schema(columns.to_json() if columns else ""))
    except (DataError, UsageError) as error:
        yield Finding("schema", False, error.full_text)
        return
    for name, why in schema.disagreements.items():
        yield Finding("proposal", False, f"{name}: {why}")
    if columns and not schema.disagreements:
        yield Finding("proposal", True, "this pod follows it")
    yield from _bounds(table, schema)
    yield from _left_out(pod, table, schema)
    silent = [column.name for column in schema.columns if column.kind == "categorical" and not column.values]
    text = f"publishes {len(schema.columns)} columns: {', '.join(schema.names)}"
    yield Finding("schema", True, f"{text}; no value of {', '.join(silent)} is frequent enough" if silent else text)
    yield _rows(pod, table, schema)


def _bounds(table: Any, schema: Any) -> Iterator[Finding]:
    """Say how many values lie beyond the bounds that the owner has set; a column that is cut off whole is wrong."""
    for column in schema.columns:
        if column.kind == "continuous" and not column.empty:
            numeric = table.cells.numeric(column.name, None, column.date)
            low, high = column.bounds
            cut = int(numeric.counts[(numeric.values < low) | (numeric.values > high)].sum())
            if cut:
                text = f"{column.name}: {column.range} cut off the values of {cut:,} of {numeric.rows:,} rows"
                yield Finding("bounds", cut < numeric.rows / 2, f"{text}; `fl-app pod column` changes them")


def _left_out(pod: Pod, table: Any, schema: Any) -> Iterator[Finding]:
    """Say which columns stay here, and of the others what counts as missing and what is too rare to be published."""
    from client.site.column_description import describe_column

    if ignored := pod.data_config.ignore_cols:
        yield Finding("left out", True, f"columns of which nothing leaves the pod: {', '.join(ignored)}")
    for column in schema.columns:
        described = describe_column(table.cells, column, pod.policy.minimum_category_count)
        if described.look in ("nearly numeric", "date", "no value") and not column.date:
            yield Finding("column", True, f"{column.name}: {described.text}")
        elif described.notes:
            yield Finding("column", True, f"{column.name}: {'; '.join(described.notes)}")


def _rows(pod: Pod, table: Any, schema: Any) -> Finding:
    """Say for which targets evaluation counts may leave; which one it is, a run says."""
    import numpy as np

    policy, rows = pod.policy, table.rows("validation")
    enough = []
    for column in schema.columns:
        if 2 <= len(column.values) <= _CLASSES:
            indices, texts = rows.texts(column.name)
            counts = np.bincount(indices[indices >= 0], minlength=len(texts))
            frequent = counts[counts > 0]
            if frequent.sum() >= policy.minimum_evaluation_rows and frequent.min() >= policy.minimum_rows_per_class:
                enough.append(column.name)
    if enough:
        return Finding("rows per class", True, f"enough to evaluate as target: {', '.join(enough)}")
    return Finding(
        "rows per class",
        True,
        f"no column has {policy.minimum_evaluation_rows} validation rows (minimum_evaluation_rows) and "
        f"{policy.minimum_rows_per_class} of each class (minimum_rows_per_class): the pod trains, but its evaluation "
        "counts stay here",
    )


def _keys(pod: Pod, home: Path | None) -> Iterator[Finding]:
    from fl_app.host.party_keys import NODE_KEY_FILE, node_public_line
    from fl_app.identity.key_file import Identity

    directory = pod_home(pod.name, home)
    try:
        identity = Identity.load(directory)
        yield Finding("identity key", True, identity.fingerprint)
    except UsageError as error:
        yield Finding("identity key", False, str(error))
    node = directory / NODE_KEY_FILE
    if not node.exists():
        yield Finding("node key", True, "none yet: made by `fl-app pod keygen`, or when the pod is first run")
    else:
        try:
            node_public_line(node)
            yield Finding("node key", True, "there, closed to others")
        except UsageError as error:
            yield Finding("node key", False, str(error))
    if directory.is_dir() and directory.stat().st_mode & 0o077:
        yield Finding("home", False, f"others may look into {directory}: chmod go= {directory}")
    if (directory / PAUSED_FILE).exists():
        yield Finding("paused", False, f"the pod answers nobody until `fl-app pod resume {pod.name}`")


def _approvals(pod: Pod, home: Path | None) -> Iterator[Finding]:
    from fl_app.identity.known_pods import Keyring, known_pods
    from fl_app.secagg.crypto import fingerprint

    try:
        keyring = Keyring.load(known_pods(home))
    except UsageError as error:
        yield Finding("approvals", False, str(error))
        return
    others = [name for name in pod.approved_pods if name != pod.name]
    pinned = {name: key for name in others if (key := keyring.get(name)) is not None}
    for name in others:
        if name in pinned:
            yield Finding("approves", True, f"{name}, known by {fingerprint(pinned[name])}")
        else:
            advice = f"`fl-app pod approve {name} CARD` enters it, and until then {name} is not approved"
            yield Finding("approves", False, f"{name}, whose key is not known: {advice}")
    least = pod.policy.minimum_cohort
    if len(pinned) + 1 < least:
        who = ", ".join(pinned) or "nobody"
        text = f"approves {who}, and minimum_cohort asks for {least} pods with this one: no run can take place"
        yield Finding("cohort", False, f"{text}; `fl-app pod approve NAME CARD --pod FILE` approves one")
    yield Finding(
        "approved by others", True, "cannot be seen from here: each of them must approve this pod; `fl-app pods` tells"
    )


def _apps(pod: Pod, home: Path | None) -> Iterator[Finding]:
    from fl_app.host.bundle import build

    apps = Apps(pod_home(pod.name, home))
    names = [name for name in apps.names() if apps.approved(name)]
    installed = hash_of(build())
    listed = ", ".join(name[:12] for name in names)
    if installed in names:
        yield Finding("app", True, f"approved: {listed}; {installed[:12]} is installed here")
    elif names:
        text = f"approved: {listed}; not among them is {installed[:12]}, installed here"
        yield Finding("app", True, f"{text}. `fl-app pod approve-app {pod.name}` shows what changed")
    else:
        yield Finding("app", False, f"no version is approved, so none runs: `fl-app pod approve-app {pod.name}`")
    if spoiled := [name[:12] for name in apps.names() if name not in names]:
        yield Finding("app", False, f"the stored bundle of {', '.join(spoiled)} is not the one that was approved")
    if refused := apps.refused():
        yield Finding("refused", True, f"{len(refused)} versions were refused of late; `approve-app --list` shows them")


def _flower() -> Finding:
    installed, missing = version("flwr"), flower_names.missing()
    text = f"{installed} has no {', '.join(missing)}, and the pod answers nothing: install flwr{flower_names.SUPPORTED}"
    return Finding("Flower here", not missing, text if missing else installed)
