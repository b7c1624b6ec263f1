"""The terms on which a pod's owner lets it take part.

Each term is written once, as a field of `Policy`: its name, bounds, default and description. The docstring of `Policy`,
the template of a pod file (`client.site.pod_template`) and the table in ``docs/pod-owner.md``
(``scripts/policy_table.py``) come from there.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

TrainingLimit = Literal["maximum_rounds", "maximum_local_epochs", "maximum_local_steps", "maximum_folds"]
TRAINING_LIMITS: Mapping[TrainingLimit, str] = {
    "maximum_rounds": "rounds a run",
    "maximum_local_epochs": "local epochs a round",
    "maximum_local_steps": "local steps a round",
    "maximum_folds": "folds of a cross-validation",
}
"""The terms that limit the training one run may ask for, and what each of them counts."""


class Policy(BaseModel):
    """The owner's terms; a request that breaks one of them is refused, whoever makes it. None: no limit."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    minimum_cohort: Annotated[
        int,
        Field(
            ge=2, description="fewest pods, this one included, in a sum; with two, each can compute the other's part"
        ),
    ] = 3
    exact_cohort: Annotated[bool, Field(description="true: every approved pod must take part")] = False
    require_secure_aggregation: Annotated[
        bool, Field(description="false would let unmasked updates leave this pod")
    ] = True
    minimum_threshold: Annotated[
        int | None,
        Field(
            ge=2,
            examples=[3],
            description="fewest pods that must answer for a sum; by default more than half, all of up to three",
        ),
    ] = None
    maximum_membership_changes: Annotated[
        int, Field(ge=0, description="how often one run may go on with other members after it lost some")
    ] = 3
    minimum_rows_per_class: Annotated[
        int,
        Field(
            ge=0,
            description="with fewer validation (or test) rows of a class than this, none is counted, even in a sum",
        ),
    ] = 0
    minimum_evaluation_rows: Annotated[
        int,
        Field(
            ge=1,
            description="with fewer validation (or test) rows than this, none is counted, even in a sum",
        ),
    ] = 5
    evaluation_groups: Annotated[
        Sequence[str],
        AfterValidator(tuple),
        Field(
            description="columns by whose categories final counts may be told apart; their rows keep to the terms",
        ),
    ] = ()
    evaluation_importance: Annotated[
        bool,
        Field(
            description="false: no run may sum how much worse its final model is with a column shuffled among the rows",
        ),
    ] = True
    minimum_category_count: Annotated[
        int,
        Field(
            ge=1,
            description="a category seen in fewer rows is not published, nor is a smaller count of rows by label told",
        ),
    ] = 10
    minimum_bin_rows: Annotated[
        int,
        Field(
            ge=1,
            description="fewest rows of all pods together in a bin or a lone value of a number, as far as noise tells",
        ),
    ] = 5
    minimum_batch_rows: Annotated[
        int,
        Field(
            ge=1,
            description="fewest rows in a batch of training: a run that asks for smaller ones trains with such batches",
        ),
    ] = 32
    maximum_rounds: Annotated[
        int | None,
        Field(ge=1, description="most training rounds in one run, and one more for each change of members"),
    ] = 1000
    maximum_local_epochs: Annotated[int | None, Field(ge=1, description="most passes over the data in one round")] = 100
    maximum_local_steps: Annotated[int | None, Field(ge=1, description="most training steps in one round")] = 100_000
    maximum_folds: Annotated[
        int | None,
        Field(
            ge=1,
            description="most folds of a cross-validation, whose runs train on and hold out all rows in turn; 1: none",
        ),
    ] = 10
    maximum_parameters: Annotated[
        int | None,
        Field(ge=1, description="most parameters of a network of the modeller's own; each is a number in every answer"),
    ] = 20_000_000
    maximum_runs_per_day: Annotated[int | None, Field(ge=0, description="most runs that may begin in a day (UTC)")] = (
        200
    )
    maximum_rounds_per_day: Annotated[
        int | None,
        Field(ge=0, description="most training rounds in a day (UTC), of all runs together"),
    ] = 20_000
    maximum_failed_steps_per_day: Annotated[
        int | None,
        Field(
            ge=1,
            description="after so many steps that began and were not answered, nothing more begins that day (UTC)",
        ),
    ] = 20
    epsilon: Annotated[
        float | None,
        Field(
            gt=0,
            allow_inf_nan=False,
            examples=[3.0],
            description="most that all runs together, ever, may tell of a row; set: no run without privacy is answered",
        ),
    ] = None
    delta: Annotated[
        float,
        Field(gt=0, lt=1, description="the delta at which epsilon is meant"),
    ] = 1e-5
    honest_pods: Annotated[
        int | None,
        Field(
            ge=1,
            examples=[2],
            description="pods, this one included, whose noise the owner relies on; by default minimum_cohort - 1",
        ),
    ] = None

    @field_validator("epsilon", "delta", mode="before")
    @classmethod
    def _number(cls, given: object) -> object:
        """Return the number that a text is: YAML reads 1e-5, which has no point, as a text."""
        try:
            return float(given) if isinstance(given, str) else given
        except ValueError:
            return given

    @model_validator(mode="after")
    def _enough_noise(self) -> Self:
        if self.honest_pods is not None and self.honest_pods > self.minimum_cohort:
            raise ValueError(
                f"honest_pods {self.honest_pods} relies on the noise of more pods than are in each sum: expected at "
                f"most minimum_cohort, {self.minimum_cohort}"
            )
        return self

    @property
    def relies_on(self) -> int:
        """Pods, this one included, whose noise the owner relies on."""
        return self.minimum_cohort - 1 if self.honest_pods is None else self.honest_pods

    def training_limits(self) -> dict[TrainingLimit, int]:
        """Return those limits on a run's training that the owner has set."""
        limits: dict[TrainingLimit, int | None] = {term: getattr(self, term) for term in TRAINING_LIMITS}
        return {term: limit for term, limit in limits.items() if limit is not None}


Policy.__doc__ = "\n".join(
    [
        str(Policy.__doc__),
        "\nAttributes\n----------",
        *(f"{name}\n    {field.description}." for name, field in Policy.model_fields.items()),
    ]
)
