"""The metrics of a decoded sum, under the names by which they were declared."""

from collections.abc import Sequence

import numpy as np
from flwr.app import MetricRecord

from fl_app.flower.declared import Mean, Metric
from fl_app.flower.names import EVALUATE, EVALUATE_MEAN, NUM_EXAMPLES, segment
from fl_app.secagg.codec import Aggregate


def metric_record(aggregate: Aggregate, metrics: Sequence[Metric], handler: str) -> MetricRecord:
    """Return the aggregated metrics of one handler under their own names; a mean over no examples is NaN."""
    values, record = aggregate.values, MetricRecord()
    for metric in metrics:
        if isinstance(metric, Mean) and handler == EVALUATE:
            examples = float(values[segment(EVALUATE, NUM_EXAMPLES)][0])
            array = values[segment(EVALUATE_MEAN, metric.name)] / (examples or np.nan)
        else:
            array = values[segment(handler, metric.name)]
        plain = array.tolist()
        record[metric.name] = plain[0] if metric.size == 1 and plain else plain
    return record
