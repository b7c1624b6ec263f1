"""A private run in one process: the pods' own answers, the codec, and the rule that every party follows.

Masks cancel to the bit, so that the sum of encoded vectors is what a run decodes that masks them: only the protocol is
left out, which adds nothing to a sum. A test compares the model with that of a run through the real ServerApp and
ClientApp under the same randomness.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from client.app import private_answers
from client.app.pod_table import PodTable
from fl_app.config import RunConfig
from fl_app.errors import UsageError
from fl_app.flower import names
from fl_app.flower.records import Published
from fl_app.replica import private
from fl_app.replica.columns import datastructure_of, schema_of
from fl_app.replica.declared import Declared
from fl_app.replica.state import Replica
from fl_app.replica.tabular import TabularRule, counts_in, encoding_of, ends_of, settled
from fl_app.run_plan import implied_parameters
from fl_app.secagg.codec import Aggregate, Encoder, Layout, decode
from fl_app.secagg.field import FIELD_61
from fl_app.secagg.messages import Step
from fl_app.secagg.noise import RandomBytes
from fl_app.tabular.evaluation import metrics_of
from fl_app.tabular.model_file import TrainedModel
from fl_app.tabular.network import build_network, load_state
from fl_app.tabular.score_cells import edges_of

Values = Mapping[str, Any]


def trained(
    config: RunConfig,
    tables: Sequence[PodTable],
    honest: int,
    randomness: RandomBytes | None = None,
    gradient_of: Callable[..., NDArray[np.float64]] = private_answers.gradient,
) -> tuple[TrainedModel, dict[str, float]]:
    """Carry a private run out, in which all pods answer every step.

    Parameters
    ----------
    config : RunConfig
        With privacy.
    tables : sequence of PodTable
        Of the run's pods, in its order.
    honest : int
        Pods whose noise each owner relies on, its own included.
    randomness : callable
        What the pods' noise is drawn from; None: the system's.
    gradient_of : callable
        A pod's answer in a round of training, or a quicker way to the same.

    Returns
    -------
    TrainedModel
        The run's model.
    dict
        What the run says of it: metrics of the pods' validation rows, from counts with noise.
    """
    if config.plan is None:
        raise UsageError("a run without privacy is not carried out here")
    plan, rule, settings = config.plan, TabularRule(), config.to_json()
    replica = rule.begin(settings, {table.pod.name: _published(table, honest) for table in tables})
    relied = private.relied_on(config, replica, config.pods)
    told = schema_of(replica), datastructure_of(replica)

    def statistics(table: PodTable) -> Values:
        counts = private_answers.statistics(plan, relied, table.rows("train"), *told, randomness)
        return {names.segment(names.STATISTICS, name): array for name, array in counts.items()}

    replica = rule.after(
        settings, replica, names.STATISTICS, 1, _sum(config, replica, names.STATISTICS, tables, statistics)
    )
    encoding, scales = encoding_of(replica), private.scales_of(replica)
    run = settled(config, replica)
    network = build_network(encoding, run.architecture)

    def gradient(table: PodTable) -> Values:
        rows = table.encoded("train", encoding)
        return {names.UPDATE: gradient_of(plan, relied, network, rows, scales, randomness)}

    for number in range(1, run.rounds + 1):
        load_state(network, replica.model)
        replica = rule.after(
            settings, replica, names.TRAIN, number, _sum(config, replica, names.TRAIN, tables, gradient)
        )
    load_state(network, replica.model)
    edges = edges_of(ends_of(replica))

    def evaluation(table: PodTable) -> Values:
        values: dict[str, Any] = {names.segment(names.EVALUATE, names.NUM_EXAMPLES): np.zeros(1, np.int64)}
        for prefix, part in (("", "validation"), (names.TEST_PREFIX, "test")):
            rows = table.encoded(part, encoding)
            counts = private_answers.evaluation(plan, relied, network, rows, edges, randomness)
            values |= {names.segment(names.EVALUATE, prefix + name): array for name, array in counts.items()}
        return values

    metrics = metrics_of(counts_in(_sum(config, replica, names.EVALUATE, tables, evaluation)))
    return TrainedModel(encoding, run.architecture, {**replica.model}), metrics


def _published(table: PodTable, honest: int) -> Published:
    policy = table.pod.policy
    declared = Declared(
        minimum_cohort=policy.minimum_cohort,
        least_rows=policy.minimum_bin_rows,
        honest_pods=honest,
        validation=True,
        test=True,
    )
    return Published(schema=table.schema(), approves=(), declared=declared.to_json())


def _sum(
    config: RunConfig, replica: Replica, kind: str, tables: Sequence[PodTable], answer: Callable[[PodTable], Values]
) -> Aggregate:
    """Return what is decoded of the sum of the pods' vectors in a step."""
    settings = config.to_json()
    fixed = implied_parameters(settings, config.most_rounds, 0)
    (plan,) = [plan for plan in fixed["steps"] if plan.kind == kind]
    sizes = {c.name: 1 for c in plan.classes} | TabularRule().sizes(settings, replica, kind)
    step = Step(b"", kind, 1, tuple(c.name for c in plan.classes), tuple(sizes[c.name] for c in plan.classes))
    layout = Layout(FIELD_61, len(tables), fixed["max_weight"], step.segments(plan))
    total = np.zeros(layout.length, np.int64)
    for table in tables:
        # A pod counts as one, or not at all where nothing is weighted; see `client.app.handler_values`.
        encoder, vector = Encoder(layout, 1, answer(table)), np.empty(layout.length, np.int64)
        encoder.write(0, vector)
        if encoder.clipped:
            raise UsageError("an element of a gradient's sum is past its bound, which noise never reaches")
        total += vector
    return decode(layout, total)
