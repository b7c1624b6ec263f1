"""The tabular app's rule: encoding, first network, score cells and each round's model, from schemas and sums alone."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict

from fl_app.config import RunConfig, Settled
from fl_app.errors import UsageError
from fl_app.flower import names
from fl_app.flower.records import Published
from fl_app.replica import comparison, description, groups, own_network, private
from fl_app.replica.averaging import averaged, checked
from fl_app.replica.columns import (
    DATASTRUCTURE,
    FEATURES,
    LEFT_OUT,
    SCHEMA,
    datastructure_of,
    objection,
    schema_of,
    schemas_of,
    thin,
)
from fl_app.replica.contributors import contributors
from fl_app.replica.declared import Declared
from fl_app.replica.state import Replica
from fl_app.secagg.codec import Aggregate
from fl_app.secagg.errors import SessionRefused
from fl_app.secagg.field import FIELD_61
from fl_app.tabular.cell_text import key_of
from fl_app.tabular.class_weights import balanced
from fl_app.tabular.combining import Columns, check_numbers, check_target, combine, learnt
from fl_app.tabular.early_stopping import NUMERIC_METRICS, EarlyStopping
from fl_app.tabular.encoding import FIRST_VALUE, Encoding, features_of, summed_columns
from fl_app.tabular.evaluation import Counts, scored_classes
from fl_app.tabular.importance import IMPORTANCE, MOST_COLUMNS, Rises, no_rises
from fl_app.tabular.label_counts import LABELS, LabelCounts
from fl_app.tabular.regime import regime_for
from fl_app.tabular.regression import DEFAULT_LOSS, ERRORS, PAIRS, Errors, place_of_loss
from fl_app.tabular.schema import Column
from fl_app.tabular.score_cells import Ends, even_ends, first_ends, refined, score_cells
from fl_app.tabular.settings import PAIR
from fl_app.tabular.statistics import Statistics
from fl_app.tabular.thin_classes import Way, ways_of

LEAST_ROWS, ENCODING, ENDS = "least-rows", "encoding", "score-ends"
ROWS, PUBLISHERS = "labelled-rows", "publishers"
CLASS_ROWS = "class-rows"
FOLD = "fold"
CONTRIBUTORS_OF: Mapping[str, str] = {"validation": names.CONTRIBUTORS, "test": names.TEST_CONTRIBUTORS}
"""The rows that are evaluated, and the entry of a request that says which pods add theirs."""
WAYS_OF: Mapping[str, str] = {"validation": names.WAYS, "test": names.TEST_WAYS}
"""The same, and the entry that says how the rows of each class are counted."""


class TabularRule:
    """The `fl_app.replica.rule.Rule` of the tabular app; its settings are a `RunConfig` as JSON."""

    def proposal(self, settings: str) -> str:
        """Return the columns that the settings propose, "" for none."""
        columns = RunConfig.from_json(settings).columns
        return columns.to_json() if columns else ""

    def begin(self, settings: str, published: Mapping[str, Published]) -> Replica:
        """Combine the schemas; raises `DataError` if they do not fit together."""
        config = RunConfig.from_json(settings)
        datastructure = config.datastructure
        order = [pod for pod in config.pods if pod in published]
        schemas = schemas_of(order, published)
        declared = {pod: Declared.read(pod, published[pod].declared) for pod in order}
        if config.describes:
            return description.begun(config, schemas, declared)
        combined = combine(schemas, ignore_cols=datastructure.ignore_cols)
        combined = learnt(combined, datastructure.target, config.loss)
        target = combined.column(datastructure.target).as_target()
        check_settings(config, target)
        if target.numeric:
            check_numbers(schemas, target.name)
        else:
            check_target(schemas, target.name)
        columns = Columns(schemas)
        held = {
            name: [pod for pod, column in columns.held_by(name).items() if not column.empty]
            for name in datastructure.features(combined)
        }
        few = thin(held, declared, datastructure.selected_cols or ())
        datastructure = datastructure.model_copy(update={"ignore_cols": (*datastructure.ignore_cols, *few)})
        features = {name: held[name] for name in datastructure.features(combined)}
        if config.importance and len(features) > MOST_COLUMNS:
            raise UsageError(
                f"importance: {len(features):,} columns are learnt from, and at most {MOST_COLUMNS} are shuffled"
            )
        parts = {
            part: {pod: terms.minimum_cohort for pod, terms in declared.items() if getattr(terms, part)}
            for part in CONTRIBUTORS_OF
        }
        own = {
            schema.name: set(map(key_of, schema.column(datastructure.target).as_categories().values))
            for schema in schemas
        }
        classes = map(key_of, target.values)
        least = max([config.min_bin_rows, *(terms.least_rows for terms in declared.values())])
        honest: dict[str, Any] = {}
        if plan := config.plan:
            private.check_schema(plan, combined, datastructure)
            honest = {private.HONEST: {pod: terms.honest_pods for pod, terms in declared.items()}}
        fold: dict[str, Any] = {FOLD: str(config.fold)} if config.fold else {}
        return Replica(
            facts={
                **honest,
                **fold,
                **groups.begun(config, schemas, declared),
                **own_network.begun(config, combined, datastructure, declared),
                SCHEMA: combined.to_json(),
                DATASTRUCTURE: datastructure.to_json(),
                LEFT_OUT: list(few.values()),
                FEATURES: features,
                LEAST_ROWS: least,
                PUBLISHERS: [[pod for pod in order if name in own[pod]] for name in classes],
                **parts,
            }
        )

    def objection(self, replica: Replica, pods: Collection[str], least: int) -> str:
        """Name a feature that too few of the pods publish that are left in the session."""
        return objection(replica, pods, least)

    def request(self, settings: str, replica: Replica, kind: str, number: int, pods: Collection[str]) -> RecordDict:
        """Return what the handlers are given: settings and encoding, and the model with all that it is evaluated by."""
        config = RunConfig.from_json(settings)
        if config.describes:
            return description.request(settings, replica, kind)
        _check_order(replica, kind)
        groups.check_same(config, replica)
        if replica.facts.get(FOLD) != (str(config.fold) if config.fold else None):
            # Whether held-out rows are enough was declared of those that the series began with.
            raise SessionRefused("the run holds out another fold than the one that its series began with")
        told: dict[str, Any] = {names.RUN: settings}
        if config.privacy:
            told[names.HONEST_PODS] = private.relied_on(config, replica, pods)
        if kind == names.STATISTICS:
            asked = {name: str(replica.facts[name]) for name in (names.SCHEMA, names.DATASTRUCTURE)}
            return RecordDict({names.CONFIG_RECORD: ConfigRecord({**told, **asked})})
        if config.privacy:
            told[names.SCALES] = private.scales_of(replica).tobytes()
        told |= {
            names.ENCODING: str(replica.facts[ENCODING]),
            names.SCORE_EDGES: ends_of(replica).astype("<f4").tobytes(),
            names.LABELLED_ROWS: rows_of(replica),
            names.SERVER_ROUND: number,
            names.COMPLETED_ROUNDS: replica.completed,
            **{entry: ",".join(adding(replica, part, pods)) for part, entry in CONTRIBUTORS_OF.items()},
            **{entry: ",".join(ways_in(replica, part, pods)) for part, entry in WAYS_OF.items()},
        }
        if kind == names.EVALUATE:
            told |= groups.told(replica, minima_of(replica, "test"), pods)
        if comparison.compares(config):
            told |= comparison.told(replica)
        if config.class_weight:
            told[names.CLASS_WEIGHTS] = class_weights_of(replica).astype("<f8").tobytes()
        if config.strategy == "FedProx":
            told[names.PROXIMAL_MU] = checked(config.strategy, config.strategy_params)["proximal_mu"]
        return RecordDict({names.ARRAYS_RECORD: arrays_of(replica.model), names.CONFIG_RECORD: ConfigRecord(told)})

    def sizes(self, settings: str, replica: Replica, kind: str) -> dict[str, int]:
        """Return the number of elements of each segment of a step's vectors."""
        config = RunConfig.from_json(settings)
        if config.describes:
            return description.sizes(replica, kind)
        _check_order(replica, kind)
        if kind == names.STATISTICS:
            schema, datastructure = schema_of(replica), datastructure_of(replica)
            if config.privacy:
                return private.statistics_sizes(schema, datastructure)
            arrays = Statistics.zeros(summed_columns(schema, datastructure)).arrays()
            sizes = {name: array.size for name, array in arrays.items()}
            sizes[LABELS] = LabelCounts.size(schema.column(datastructure.target).as_target())
            return {names.segment(names.STATISTICS, name): size for name, size in sizes.items()}
        encoding = encoding_of(replica)
        classes = len(encoding.labels)
        if config.privacy:
            update = {names.UPDATE: sum(array.size for array in replica.model.values())}
            return update if kind == names.TRAIN else private.evaluation_sizes(classes)
        counts = sizes_of(encoding)
        if (own := own_network.metrics_in(replica)) is not None:
            counts[names.OWN] = len(own)
        if kind == names.EVALUATE:
            counts |= {names.TEST_PREFIX + name: size for name, size in counts.items()}
            counts |= groups.sizes(replica, classes)
            counts |= {IMPORTANCE: no_rises(encoding).size} if config.importance else {}
        elif comparison.compares(config):
            counts[comparison.PART_LOSSES] = len(PAIR) * comparison.is_comparing(replica)
        sizes = {names.segment(names.EVALUATE, name): size for name, size in counts.items()}
        if kind == names.TRAIN:
            sizes[names.UPDATE] = sum(array.size for array in replica.model.values())
        return sizes

    def after(self, settings: str, replica: Replica, kind: str, number: int, sums: Aggregate) -> Replica:
        """Return the replica with what a step's sums make: encoding and first network, the next model, score cells."""
        config = RunConfig.from_json(settings)
        if config.describes:
            return replica.moved()
        if kind == names.STATISTICS:
            return self._encoded(config, replica, sums)
        if plan := config.plan:
            return private.stepped(plan, replica, number, sums) if kind == names.TRAIN else replica.moved()
        if kind == names.EVALUATE and _numeric(replica):
            return replica.moved()
        if kind == names.EVALUATE:
            return replica.moved(facts={**replica.facts, ENDS: _next_ends(replica, sums, names.TEST_PREFIX)})
        facts: dict[str, Any] = {ENDS: b"" if _numeric(replica) else _next_ends(replica, sums)}
        update = sums.values[names.UPDATE]
        after = averaged(config.strategy, config.strategy_params, replica.model, replica.carried, update, number)
        if comparison.is_comparing(replica) and comparison.is_due(replica):
            best = compared_in(replica, sums).best
            after = comparison.part_of(best, after)
            facts |= {comparison.NETWORK: best, comparison.COMPARING: False}
        return replica.trained(number, *after, **facts)

    def _encoded(self, config: RunConfig, replica: Replica, sums: Aggregate) -> Replica:
        # torch: only where the first network is built
        from fl_app.tabular.network import build_network, state_of
        from fl_app.tabular.own_module import OwnNetwork

        schema, datastructure = schema_of(replica), datastructure_of(replica)
        least, plan = int(str(replica.facts[LEAST_ROWS])), config.plan
        if plan:
            columns = features_of(schema, datastructure)
            marginals = private.marginals_in(config, plan, replica, columns, sums)
            encoding = marginals.encoding(schema, datastructure, least)
        else:
            loss = config.loss or DEFAULT_LOSS
            encoding = Encoding.of(schema, datastructure, statistics_in(sums), min_bin_rows=least, loss=loss)
        labels = () if plan else labels_in(sums, private=False).classes
        rows = sum(labels)
        run = Settled.of(config, regime_for(rows, encoding.outputs))
        own_network.check_size(config, replica, encoding)
        begins = comparison.begun(run)
        first = begins.get(comparison.NETWORK, run.architecture)
        model = state_of(build_network(encoding, str(first), run.seed, OwnNetwork.named(run.network)))
        scored = scored_classes(len(encoding.labels))
        ends = even_ends(scored) if plan else first_ends(scored)
        facts: dict[str, Any] = {
            **replica.facts,
            ENCODING: encoding.to_json(),
            ROWS: rows,
            ENDS: ends.astype("<f4").tobytes(),
            **begins,
        }
        if config.class_weight:
            facts[CLASS_ROWS] = list(labels)
        if plan:
            facts[private.ROWS] = marginals.rows
            facts[private.SCALES] = private.scales_in(run.architecture, encoding, marginals)
        return replica.moved(facts=facts, model=model)


def check_settings(config: RunConfig, target: Column) -> None:
    """Raise `UsageError`, naming the setting, if the settings do not go with the target as it is learnt."""
    name = target.name
    follows = config.early_stopping.metric if isinstance(config.early_stopping, EarlyStopping) else "loss"
    if not target.numeric:
        if follows in NUMERIC_METRICS:
            raise UsageError(f"early stopping follows {follows}, and the target {name!r} has classes, not numbers")
        return
    what = f"the target {name!r} is a number"
    if config.group_by:
        raise UsageError(f"group_by: {what}, whose errors are not told apart by group")
    if config.privacy:
        raise UsageError(f"privacy: {what}, and only classes are learnt with differential privacy")
    if config.positive is not None:
        raise UsageError(f"positive: {what}, and has no class {config.positive!r}")
    if config.class_weight or config.decision != "0.5":
        named = "class_weight" if config.class_weight else "threshold"
        raise UsageError(f"{named}: {what}, and has no classes")
    if config.prime_q != FIELD_61.prime:
        raise UsageError(f"compact: {what}, whose errors the small field would round off; leave it out")
    if follows not in (*NUMERIC_METRICS, "loss"):
        raise UsageError(f"early stopping follows {follows}, and {what}: follow loss, mae, rmse or r2")


def sizes_of(encoding: Encoding) -> dict[str, int]:
    """Return the number of elements of each array of an evaluation: those of classes or of numbers are empty."""
    counts = {
        name: 0 if encoding.numeric else array.size
        for name, array in Counts.zeros(len(encoding.labels) or 2).arrays().items()
    }
    sums = {ERRORS: 0, PAIRS: 0}
    if encoding.numeric:
        sums = {name: array.size for name, array in Errors.zeros(encoding.numeric).arrays().items()}
    return {**counts, **sums}


def _numeric(replica: Replica) -> bool:
    return encoding_of(replica).numeric is not None


def _check_order(replica: Replica, kind: str) -> None:
    if (kind == names.STATISTICS) == (ENCODING in replica.facts):
        raise SessionRefused("statistics come first in a series, and once")


def encoding_of(replica: Replica) -> Encoding:
    """Return the encoding of a replica that has followed the statistics."""
    return Encoding.from_json(str(replica.facts[ENCODING]))


def rows_of(replica: Replica) -> int:
    """Return how many labelled rows the pods have together, as far as their noise tells; 0 in a private run."""
    return int(str(replica.facts[ROWS]))


def class_weights_of(replica: Replica) -> npt.NDArray[np.float64]:
    """Return what a row of each class counts in the training of a run that weighs them, float64 [C]."""
    rows: Any = replica.facts[CLASS_ROWS]
    return balanced(rows)


def settled(config: RunConfig, replica: Replica) -> Settled:
    """Return a run's settings with what follows from the statistics that a replica has followed."""
    return Settled.of(config, regime_for(rows_of(replica), encoding_of(replica).outputs))


def ends_of(replica: Replica) -> Ends:
    """Return the cells in which scores are counted next."""
    ends: Any = replica.facts[ENDS]
    return np.frombuffer(ends, "<f4").reshape(-1, score_cells(private=private.HONEST in replica.facts) + 1)


def adding(replica: Replica, part: str, pods: Collection[str]) -> tuple[str, ...]:
    """Return the pods of a session whose "validation" or "test" rows are counted."""
    return contributors(minima_of(replica, part), pods)


def minima_of(replica: Replica, part: str) -> Mapping[str, int]:
    """Return which pods have "validation" or "test" rows enough, each with its owner's ``minimum_cohort``."""
    minima: Any = replica.facts[part]
    return dict(minima)


def publishers_of(replica: Replica) -> Sequence[Collection[str]]:
    """Return for each class the pods that publish it."""
    publishers: Any = replica.facts[PUBLISHERS]
    return list(publishers)


def ways_in(replica: Replica, part: str, pods: Collection[str]) -> tuple[Way, ...]:
    """Return how the "validation" or "test" rows of each class are counted in a session of these pods."""
    minima, added = minima_of(replica, part), adding(replica, part, pods)
    return ways_of(publishers_of(replica), added, max((minima[pod] for pod in added), default=0))


def statistics_in(sums: Aggregate) -> Statistics:
    """Return the statistics in the sums of that step."""
    layout = Statistics.zeros(()).arrays()
    parts = {name: sums.values[names.segment(names.STATISTICS, name)] for name in layout}
    return Statistics.from_sums(parts, sums.pods)


def labels_in(sums: Aggregate, *, private: bool) -> LabelCounts:
    """Return how many rows have which label, from the sums of the statistics."""
    counts = sums.values[names.segment(names.STATISTICS, LABELS)]
    if private:  # rows without a label are in no count of a private run: in their places is noise alone
        counts = np.concatenate([np.zeros(FIRST_VALUE), counts[FIRST_VALUE:]])
    return LabelCounts.from_sums(counts, 0 if private else sums.pods)


def evaluates(sums: Aggregate) -> bool:
    """Say whether a step's sums hold counts of an evaluation: those of a private run's training do not."""
    return any(name.startswith(names.segment(names.EVALUATE, "")) for name in sums.values)


def counts_in(sums: Aggregate, prefix: str = "") -> Counts:
    """Return the counts of an evaluation in a step's sums; those of the test rows have the prefix `TEST_PREFIX`."""
    sent = {name: names.segment(names.EVALUATE, prefix + name) for name in Counts.zeros(2).arrays()}
    return Counts.from_arrays({name: sums.values[key] for name, key in sent.items() if key in sums.values})


def errors_in(sums: Aggregate, prefix: str = "") -> Errors:
    """Return the errors of an evaluation of a numeric target in a step's sums, as `counts_in` does of classes."""
    return Errors.from_arrays(
        {name: sums.values[names.segment(names.EVALUATE, prefix + name)] for name in (ERRORS, PAIRS)}
    )


def compared_in(replica: Replica, sums: Aggregate) -> comparison.Losses:
    """Return what is compared by the sums of a step for which pods were asked on this replica."""
    if numeric := encoding_of(replica).numeric:
        errors = errors_in(sums)
        return comparison.losses_in(sums, float(errors.sums[place_of_loss(numeric)]), errors.rows)
    counts = counts_in(sums)
    return comparison.losses_in(sums, counts.loss_sum, counts.scored)


def own_in(sums: Aggregate, prefix: str = "") -> list[float]:
    """Return the sums of a network's own metrics in an evaluation, in the order of `own_network.metrics_in`."""
    return [float(value) for value in np.atleast_1d(sums.values[names.segment(names.EVALUATE, prefix + names.OWN)])]


def rises_in(sums: Aggregate, encoding: Encoding) -> Rises:
    """Return how much worse the model is with each column shuffled, in the sums of a final evaluation."""
    return sums.values[names.segment(names.EVALUATE, IMPORTANCE)].reshape(no_rises(encoding).shape)


def arrays_of(model: Mapping[str, npt.NDArray[Any]]) -> ArrayRecord:
    """Return a model's arrays as handlers are given them."""
    return ArrayRecord({name: Array(array) for name, array in model.items()})


def _next_ends(replica: Replica, sums: Aggregate, prefix: str = "") -> bytes:
    counts = counts_in(sums, prefix)
    return refined(ends_of(replica), counts.histograms, counts.positions).astype("<f4").tobytes()
