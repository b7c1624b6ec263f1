"""The terms on which a pod's owner lets it take part."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Policy(BaseModel):
    """The owner's terms; a request that breaks one of them is refused, whoever makes it.

    Attributes
    ----------
    minimum_cohort
        Fewest pods whose sum this pod may be part of, itself included. With two pods each can compute the other's
        update from the sum, so two is for the owner to choose.
    exact_cohort
        Whether every approved pod must take part.
    require_secure_aggregation
        Whether plain averaging is refused.
    minimum_threshold
        Least threshold of the secret sharing; None: more than half of the cohort, all of up to three.
    maximum_membership_changes
        Most sessions after the first that one run may open with other members.
    minimum_rows_per_class
        Fewest validation rows of each class before evaluation counts leave the pod, even as a sum.
    minimum_category_count
        A category seen in fewer rows is not published in the schema.
    maximum_rounds
        Most training rounds one run may ask for; besides, one may be repeated for each membership change. None, here
        and below: no limit.
    maximum_local_epochs, maximum_local_steps
        Furthest a pod trains in one round, for runs that count it in epochs and for those that count in steps.
    maximum_runs_per_day, maximum_rounds_per_day
        Most runs that begin, and most training rounds, in one day (UTC), by the pod's own ledger.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    minimum_cohort: Annotated[int, Field(ge=2)] = 3
    exact_cohort: bool = False
    require_secure_aggregation: bool = True
    minimum_threshold: Annotated[int, Field(ge=2)] | None = None
    maximum_membership_changes: Annotated[int, Field(ge=0)] = 3
    minimum_rows_per_class: Annotated[int, Field(ge=0)] = 50
    minimum_category_count: Annotated[int, Field(ge=1)] = 10
    maximum_rounds: Annotated[int, Field(ge=1)] | None = None
    maximum_local_epochs: Annotated[int, Field(ge=1)] | None = None
    maximum_local_steps: Annotated[int, Field(ge=1)] | None = None
    maximum_runs_per_day: Annotated[int, Field(ge=0)] | None = None
    maximum_rounds_per_day: Annotated[int, Field(ge=0)] | None = None
