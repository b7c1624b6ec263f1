"""JSON objects of the run directory as types: what was set is written, and what a newer version wrote is kept."""

from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from fl_app.errors import UsageError


class Document(BaseModel):
    """A JSON object that is read leniently and never changed in place."""

    model_config = ConfigDict(
        frozen=True,
        extra="allow",
        allow_inf_nan=False,
        populate_by_name=True,
        use_attribute_docstrings=True,
    )

    @classmethod
    def read(cls, text: str | bytes) -> Self:
        """Read what `document` gives, as JSON; raises `UsageError` if it is something else."""
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            place = ".".join(map(str, first["loc"]))
            raise UsageError(f"{place}: {first['msg']}" if place else first["msg"]) from None

    def document(self) -> dict[str, Any]:
        """Return what JSON says of it: the keys that were set, and no others."""
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)

    def changed(self, **changes: Any) -> Self:
        """Return the same with some fields set, each checked against its type."""
        return type(self)(**{**self._set(), **changes})

    def without(self, *names: str) -> Self:
        """Return the same with some fields unset."""
        return type(self)(**{name: value for name, value in self._set().items() if name not in names})

    def _set(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.model_fields_set}


def written(*names: str) -> ConfigDict:
    """Have the JSON schema say that these keys are always written; a reader does without those that are missing."""
    return ConfigDict(json_schema_extra={"required": list(names)})
