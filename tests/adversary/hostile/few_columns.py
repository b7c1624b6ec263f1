"""Tables of counts out of evaluations: a model of two columns gives each pair of values a score of its own."""

from itertools import product

import pandas as pd

from fl_app.replica.tabular import counts_in
from fl_app.tabular.network import build_network, load_state
from fl_app.tabular.score_cells import cells_of, edges_of, first_ends, refined
from fl_app.tabular.settings import DataStructure, Optimizer
from fl_app.tabular.training import predict_proba
from tests.adversary.hostile.honest import run, settings
from tests.adversary.hostile.tables import TARGET, Pods


def counts_of_pairs(pods: Pods, rounds: int = 6) -> dict[tuple[int, str, str], int]:
    """Count validation rows by age, sex and label, from the score histograms of an honest run over two columns.

    Returns
    -------
    dict
        The counts of all triples, 0 included, that had cells of their own in the last round.
    """
    config = settings(
        rounds=rounds,
        datastructure=DataStructure(target=TARGET, selected_cols=("age", "sex")),
        local_steps=20,
        batch_size=256,
        optimizer=Optimizer(name="AdamW", params={"lr": 0.003}),
    )
    seen = run(pods, config)
    ends = first_ends(1)
    for sums in seen.sums[:-1]:
        counts = counts_in(sums)
        ends = refined(ends, counts.histograms, counts.positions)
    network = build_network(seen.encoding, config.architecture, config.seed)
    load_state(network, seen.models[-2])
    sexes = next(c for c in seen.encoding.features if c.name == "sex").values
    pairs = list(product(range(17, 91), sexes))
    people = pd.DataFrame(pairs, columns=["age", "sex"])
    rows = seen.encoding.encode(people, with_labels=False)
    places = cells_of(predict_proba(network, rows)[:, 1:], edges_of(ends))[0][:, 0]
    alone = [place for place in range(len(pairs)) if (places == places[place]).sum() == 1]
    histograms = counts_in(seen.sums[-1]).histograms[0]
    return {
        (*pairs[place], label): int(histograms[y, places[place]])
        for place in alone
        for y, label in enumerate(seen.encoding.labels)
    }
