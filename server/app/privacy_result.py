"""What results.json says of a run's privacy: what is promised, against whom, and what each step costs."""

from collections.abc import Mapping

from pydantic import Field

from server.app.document import Document, written


class StepPrivacy(Document):
    """What one kind of step costs a row, and the noise that it is hidden by."""

    model_config = written("rho", "steps")

    rho: float
    """What one such step costs each row that it is about, as zero-concentrated differential privacy."""
    steps: int
    """How many such steps the run may take: rounds that may be lost, and an evaluation, are among them."""
    noise: Mapping[str, float] = Field(default_factory=dict)
    """Standard deviation of the noise in the last sum, by what is summed, in its own unit: counts in rows, the loss in
    nats, the gradient in the coordinates in which a row's part has a norm of at most 2."""


class PrivacyResult(Document):
    """What is promised about any one row of any pod, in numbers and in a sentence."""

    model_config = written("epsilon", "guarantee")

    epsilon: float | None = None
    """Null: nothing is promised about a row."""
    delta: float | None = None
    honest_pods: int | None = None
    """Pods that are relied on to keep their share of the noise to themselves."""
    colluding_pods: int | None = None
    """Pods that may do as they like, and tell all that they know: those that make a sum, without the honest ones."""
    rho: float | None = None
    """What the run costs a row at the most, as zero-concentrated differential privacy. A training row pays for
    statistics and training, one that is held out for the evaluation; the greater of the two."""
    steps: Mapping[str, StepPrivacy] = Field(default_factory=dict)
    """By kind: "statistics", "train", "evaluate"."""
    guarantee: str = ""
    """What is promised, in one sentence."""
    not_covered: tuple[str, ...] = ()
    """What is not."""

    @property
    def counts_noise(self) -> float:
        """Standard deviation of the noise in the counts of training rows by value and label; 0 where there are none."""
        step = self.steps.get("statistics")
        return max(step.noise.values(), default=0.0) if step else 0.0
