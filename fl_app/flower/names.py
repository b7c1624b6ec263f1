"""The names on which server and pods must agree, each written once: messages, records, keys, metrics and segments.

A message's type is "category.action", as Flower routes it. A step (statistics, training, evaluation) has a kind, which
is also the name of the pod's handler for it and the first part of the names of its segments.
"""

from collections.abc import Mapping
from types import MappingProxyType

from fl_app.secagg.codec import WEIGHT as WEIGHT
from fl_app.secagg.messages import TRAIN as TRAIN

# Kinds of steps and of handlers. TRAIN is the protocol's own: the only kind with more than one round.
STATISTICS, EVALUATE = "statistics", "evaluate"

# Message types
HELLO_MESSAGE, ROSTER_MESSAGE = "query.hello", "query.roster"
SURVIVORS_MESSAGE, UNMASK_MESSAGE = "query.survivors", "query.unmask"
MASKED_STATISTICS, MASKED_TRAIN, MASKED_EVALUATE = "query.masked", "train.masked", "evaluate.masked"
PLAIN_STATISTICS, PLAIN_TRAIN, PLAIN_EVALUATE = "query.plain", "train.plain", "evaluate.plain"
MASKED_MESSAGES: Mapping[str, str] = MappingProxyType(
    {STATISTICS: MASKED_STATISTICS, TRAIN: MASKED_TRAIN, EVALUATE: MASKED_EVALUATE}
)
PLAIN_MESSAGES: Mapping[str, str] = MappingProxyType(
    {STATISTICS: PLAIN_STATISTICS, TRAIN: PLAIN_TRAIN, EVALUATE: PLAIN_EVALUATE}
)

# Records of a message, and the one entry of those for shares, for a masked vector and for what a pod publishes
SECAGG_RECORD, SHARES_RECORD, MASKED_RECORD, VALUES_RECORD = "secagg", "shares", "masked", "values"
PUBLISHED_RECORD = "published"
SEALED, VECTOR, CONTENT = "sealed", "vector", "content"
PACKED_RECORD = "packed"
COHORT_RECORD, PROOF_RECORD, SUM_RECORD, REPLICA_RECORD = "cohort", "proof", "sum", "replica"
"""What each pod of a session publishes; the proof of the sum before, and that sum; a replica for a pod without."""
CHECKED_APART = frozenset({SHARES_RECORD, PROOF_RECORD, SUM_RECORD, REPLICA_RECORD})
"""Records that a step's label does not cover."""
CONFIG_RECORD, METRICS_RECORD, ARRAYS_RECORD = "config", "metrics", "arrays"

# Keys of the config record. Numbers of rounds may be skipped, so the completed ones are counted apart.
SERVER_ROUND, COMPLETED_ROUNDS = "server-round", "completed-rounds"
PROXIMAL_MU = "proximal-mu"
RUN, ENCODING, LABELLED_ROWS = "run", "encoding", "labelled-rows"
SCHEMA, DATASTRUCTURE = "schema", "datastructure"
COLUMNS, SHARED = "columns", "shared-values"
CLASS_WEIGHTS = "class-weights"
NETWORK, COMPARING = "network", "comparing"
SCORE_EDGES = "score-edges"
HONEST_PODS, SCALES = "honest-pods", "scales"
MODEL_ROUND, CONTRIBUTORS, TEST_CONTRIBUTORS = "model-round", "contributors", "test-contributors"
WAYS, TEST_WAYS = "ways", "test-ways"
GROUP_COLUMN, GROUP_WAYS = "group-column", "group-ways"

# Metrics and segments. An evaluation's mean travels as a sum over its examples, beside their count.
NUM_EXAMPLES, LOSS = "num-examples", "loss"
UPDATE, EVALUATE_MEAN = "update", "evaluate-mean"
OWN = "own"
"""Sums of the metrics of a network of the modeller's own, see `fl_app.tabular.own_metrics`."""
TEST_PREFIX = "test_"
"""In front of the names of metrics of test rows; those of validation rows have none."""


def segment(prefix: str, metric: str) -> str:
    """Return the name of a metric's segment in the vector, such as "train.loss"."""
    return f"{prefix}.{metric}"
