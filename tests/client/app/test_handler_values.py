from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.supercore.task_identity import TaskIdentity
from hypothesis import given
from hypothesis import strategies as st

from client.app.handler_values import Handlers, Update, examples_of, metric_values, update_of
from fl_app.secagg.codec import Encoder, Layout, Segment
from fl_app.secagg.errors import SessionRefused, ValueRefused
from fl_app.secagg.field import FIELD_61
from fl_app.secagg.messages import ElementClass, Step, StepPlan
from tests.fl_app.secagg.cohort import parameters
from tests.fl_app.secagg.test_codec import encode


def arrays(*shapes: tuple[int, ...], seed: int = 0) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


def content(**named: Any) -> RecordDict:
    return RecordDict({"arrays": ArrayRecord({name: Array(np.asarray(value)) for name, value in named.items()})})


# --- updates

SHAPES = st.lists(st.lists(st.integers(0, 4), max_size=3).map(tuple), max_size=5)


@given(SHAPES, st.data())
def test_any_slice_of_an_update_is_that_of_the_flat_difference(shapes: list[Any], data: st.DataObject) -> None:
    new, old = arrays(*shapes, seed=1), arrays(*shapes, seed=2)
    update = Update(new, old)
    flat = [a.astype(np.float64).ravel() - b.astype(np.float64).ravel() for a, b in zip(new, old, strict=True)]
    want = np.concatenate([np.zeros(0), *flat])
    assert update.shape == want.shape
    part = slice(*sorted((data.draw(st.integers(0, len(want))), data.draw(st.integers(0, len(want))))))
    assert update[part].dtype == np.float64
    assert update[part].tolist() == want[part].tolist()
    assert update[:].tolist() == want.tolist()


def test_an_update_is_encoded_as_the_array_it_stands_for() -> None:
    new, old = arrays((40_000,), (7, 9), seed=1), arrays((40_000,), (7, 9), seed=2)
    update = Update(new, old)
    layout = Layout(FIELD_61, 2, 10, [Segment("update", "update", 1.0, update.shape[0])])
    lazy, whole = (encode(layout, 7, {"update": values}) for values in (update, update[:]))
    assert (lazy == whole).all()
    assert lazy[-1] > 0  # some were clipped, and counted


def test_an_update_is_the_difference_in_float64() -> None:
    update = Update([np.array([1e8 + 8], np.float32)], [np.array([0.1], np.float32)])
    assert update[:][0] == np.float64(np.float32(1e8 + 8)) - np.float64(np.float32(0.1))


@pytest.mark.parametrize(
    ("new", "old"),
    [
        ([np.zeros(3)], [np.zeros(4)]),
        ([np.zeros((2, 3))], [np.zeros((3, 2))]),
        ([np.zeros(3)], [np.zeros(3), np.zeros(1)]),
        ([np.zeros(3, int)], [np.zeros(3)]),
        ([np.zeros(3)], [np.zeros(3, int)]),
        ([np.zeros(3, complex)], [np.zeros(3)]),
        ([np.array(["a"])], [np.zeros(1)]),
    ],
)
def test_arrays_that_do_not_match_are_refused(new: Any, old: Any) -> None:
    with pytest.raises(ValueRefused, match="shapes of those received"):
        Update(new, old)


def test_an_update_is_taken_from_the_one_array_record_of_request_and_reply() -> None:
    request = content(w=np.ones((2, 2)), b=np.zeros(1))
    request["config"] = ConfigRecord({"lr": 0.1})
    reply = content(w=np.full((2, 2), 1.5), b=np.ones(1))
    assert update_of(request, reply)[:].tolist() == [0.5] * 4 + [1.0]


@pytest.mark.parametrize(
    ("request_", "reply", "text"),
    [
        (content(w=[1.0]), content(v=[1.0]), "names"),
        (content(w=[1.0], b=[1.0]), content(b=[1.0], w=[1.0]), "names"),
        (content(w=[1.0]), content(w=[1.0], b=[1.0]), "names"),
        (content(w=[1.0]), RecordDict(), "exactly one ArrayRecord"),
        (RecordDict(), content(w=[1.0]), "exactly one ArrayRecord"),
        (RecordDict({**content(w=[1.0]), "more": ArrayRecord()}), content(w=[1.0]), "exactly one ArrayRecord"),
    ],
)
def test_a_reply_with_other_arrays_is_refused(request_: RecordDict, reply: RecordDict, text: str) -> None:
    with pytest.raises(ValueRefused, match=text):
        update_of(request_, reply)


# --- metrics


def reply(**metrics: Any) -> RecordDict:
    return RecordDict({"metrics": MetricRecord(metrics)})


def test_the_number_of_examples_is_the_handlers() -> None:
    assert examples_of(reply(**{"num-examples": 0})) == 0
    assert examples_of(reply(**{"num-examples": 17, "loss": 1.0})) == 17


@pytest.mark.parametrize("metrics", [{}, {"num-examples": 1.0}, {"num-examples": -1}, {"num-examples": [1]}])
def test_a_number_of_examples_that_is_none_is_refused(metrics: dict[str, Any]) -> None:
    with pytest.raises(ValueRefused, match="'num-examples', an integer"):
        examples_of(reply(**metrics))


@pytest.mark.parametrize("content", [RecordDict(), RecordDict({"a": MetricRecord(), "b": MetricRecord()})])
def test_a_reply_holds_one_metric_record(content: RecordDict) -> None:
    with pytest.raises(ValueRefused, match="exactly one MetricRecord"):
        examples_of(content)


SEGMENTS = [
    Segment("update", "update", 8.0, 3),
    Segment("train.loss", "mean", 10.0),
    Segment("evaluate.hits", "count", 9.0, 2),
    Segment("evaluate-mean.loss", "sum", 9.0),
]


def test_metrics_are_taken_by_handler_and_means_become_sums() -> None:
    found = metric_values(reply(loss=1, extra=7), SEGMENTS, "train")
    assert {name: (a.dtype, a.tolist()) for name, a in found.items()} == {"train.loss": (np.float64, [1.0])}
    hits = metric_values(reply(hits=[3, 4]), SEGMENTS, "evaluate")["evaluate.hits"]
    assert (hits.dtype.kind, hits.tolist()) == ("i", [3, 4])
    assert metric_values(reply(loss=0.5), SEGMENTS, "evaluate-mean", factor=6)["evaluate-mean.loss"].tolist() == [3.0]


def test_a_metric_that_was_not_reported_is_named() -> None:
    with pytest.raises(ValueRefused, match="'loss', which was declared for train"):
        metric_values(reply(accuracy=1.0), SEGMENTS, "train")


@pytest.mark.parametrize("hits", [[1.5, 2.0], [1, 2, 3], 1, [-1, 0], [10, 0]])
def test_metrics_that_are_not_as_declared_do_not_get_into_a_vector(hits: Any) -> None:
    layout = Layout(FIELD_61, 2, 10, [SEGMENTS[2]])
    values = metric_values(reply(hits=hits), SEGMENTS, "evaluate")
    with pytest.raises(ValueRefused, match=r"evaluate\.hits"):
        encode(layout, 1, dict(values))


def test_an_encoder_takes_no_array_for_an_update_of_another_size() -> None:
    layout = Layout(FIELD_61, 2, 10, [Segment("update", "update", 1.0, 5)])
    with pytest.raises(ValueRefused, match="flat array of 5"):
        Encoder(layout, 1, {"update": Update(arrays((4,)), arrays((4,)))})  # type: ignore[dict-item]


# --- the handlers of a step

CLASSES = tuple(ElementClass(s.name, s.kind, s.bound) for s in SEGMENTS)
STEP = Step(b"session", "train", 1, tuple(s.name for s in SEGMENTS), tuple(s.size for s in SEGMENTS))
EVALUATION = MetricRecord({"num-examples": 6, "hits": [3, 4], "loss": 0.5})
TRAINED = RecordDict({**content(w=[1.0, 2.0, 3.0]), **reply(**{"num-examples": 17, "loss": 1.0})})


@pytest.fixture
def flower(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages are made inside a task of Flower's only."""
    for name in ("run_id", "node_id", "task_id"):
        monkeypatch.setattr(TaskIdentity, f"_{name}", 1)


def values_of(handlers: Handlers) -> tuple[int, dict[str, Any]]:
    message = Message(content(w=np.zeros(3)), dst_node_id=1, message_type="train.masked")
    context = Context(1, 1, {}, RecordDict(), {})
    plans = (StepPlan("train", 3, CLASSES),)
    weight, values = handlers.values(message, context, parameters("ab", steps=plans), STEP)
    return weight, {name: values[name][:].tolist() for name in values}


def handlers_of(**replies: RecordDict) -> tuple[Handlers, list[str]]:
    """Handlers with these replies, and the list in which each call is noted."""
    handlers, called = Handlers(), list[str]()

    def register(kind: str, reply: RecordDict) -> None:
        def handler(message: Message, context: Context) -> Message:
            called.append(kind)
            return Message(reply, dst_node_id=1, message_type="train")

        handlers.add(kind, handler)

    for kind, one in replies.items():
        register(kind, one)
    return handlers, called


@pytest.mark.usefixtures("flower")
def test_a_training_step_evaluates_what_came_in_then_trains() -> None:
    handlers, called = handlers_of(train=TRAINED, evaluate=RecordDict({"metrics": EVALUATION}))
    weight, values = values_of(handlers)
    assert called == ["evaluate", "train"]
    assert weight == 17
    assert values == {
        "update": [1.0, 2.0, 3.0],
        "train.loss": [1.0],
        "evaluate.hits": [3, 4],
        "evaluate-mean.loss": [3.0],
    }


@pytest.mark.usefixtures("flower")
def test_a_training_handler_that_evaluates_is_called_alone_and_gives_the_same() -> None:
    apart = values_of(handlers_of(train=TRAINED, evaluate=RecordDict({"metrics": EVALUATION}))[0])
    both = RecordDict({**TRAINED, "evaluate": EVALUATION})
    handlers, called = handlers_of(train=both, evaluate=RecordDict())
    handlers.train_evaluates = True
    assert values_of(handlers) == apart
    assert called == ["train"]


@pytest.mark.usefixtures("flower")
def test_a_training_handler_that_evaluates_and_does_not_say_so_is_refused() -> None:
    both = RecordDict({**TRAINED, "evaluate": EVALUATION})
    with pytest.raises(ValueRefused, match="exactly one MetricRecord"):
        values_of(handlers_of(train=both, evaluate=RecordDict({"metrics": EVALUATION}))[0])


@pytest.mark.usefixtures("flower")
def test_a_training_handler_that_says_so_must_evaluate() -> None:
    handlers, _ = handlers_of(train=TRAINED)
    handlers.train_evaluates = True
    with pytest.raises(ValueRefused, match="holds no MetricRecord 'evaluate'"):
        values_of(handlers)


@pytest.mark.usefixtures("flower")
def test_a_step_without_a_handler_is_refused() -> None:
    with pytest.raises(SessionRefused, match="no 'evaluate' handler"):
        values_of(handlers_of(train=TRAINED)[0])
