"""The base of every value object here: immutable, closed to unknown fields, and wrong input is a typed error."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from fl_app.errors import DataError, UsageError
from fl_app.problems import dotted, explain


class Frozen(BaseModel):
    """A validated, immutable pydantic model that raises :class:`UsageError` instead of pydantic's own error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def __init__(self, /, **fields: Any) -> None:
        try:
            super().__init__(**fields)
        except ValidationError as error:
            raise UsageError(_text(type(self), error)) from None

    def to_json(self) -> str:
        """Write as JSON; equal objects give equal text, and floats keep every bit."""
        return self.model_dump_json()

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read what :meth:`to_json` wrote; anything else raises DataError."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise DataError(_text(cls, error)) from None
        except UsageError as error:
            raise DataError(str(error)) from None


def _text(model: type[BaseModel], error: ValidationError) -> str:
    problems = explain(error, model.model_json_schema())
    return f"{model.__name__}: " + "; ".join(f"{dotted(where)}: {text}".lstrip(": ") for where, text in problems)
