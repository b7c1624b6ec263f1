"""What a role brings to the hub: its pages, what can be downloaded, and the few things that may be done.

A page's values are read anew from their one source of truth whenever it is rendered: nothing is kept in between.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fl_app.errors import FlAppError

Parameters = Mapping[str, str]
"""What the address of a request names: the parts of its path in braces, and its query; what that names more than once
has all its values, with commas between them."""


class NotThere(FlAppError):
    """What was asked for does not exist, or is none of this role's."""


@dataclass(frozen=True)
class Page:
    """One page.

    Attributes
    ----------
    path
        Its path below the role's, such as ``"/"`` or ``"/runs/{run}"``; ``{file:path}`` takes slashes, too.
    title
        What heads it.
    template
        The file in the role's directory of templates; it extends ``layout``.
    values
        Returns what the template is filled in with. It is called in a thread, and raises `NotThere`.
    label
        The page's name in the navigation; "" if it is not in it.
    live
        Whether an open page follows what changes.
    """

    path: str
    title: str
    template: str
    values: Callable[[Parameters], Mapping[str, Any]]
    label: str = ""
    live: bool = True


@dataclass(frozen=True)
class Content:
    """What a download sends: bytes or a file, its media type, and its name if it is to be saved."""

    body: bytes | Path
    media_type: str
    name: str | None = None


@dataclass(frozen=True)
class Download:
    """A path below the role's, and what returns its content in a thread; it raises `NotThere`."""

    path: str
    read: Callable[[Parameters], Content]


@dataclass(frozen=True)
class Action:
    """A thing that a button does: a path, and what carries it out in a thread and returns a line about it.

    ``back`` is the page that the browser goes to afterwards, below the role's path.
    """

    path: str
    carry_out: Callable[[Parameters], str]
    back: str = "/"


@dataclass(frozen=True)
class Role:
    """One party's part of the hub.

    Attributes
    ----------
    name
        Where its pages are: ``/NAME/...``.
    title
        The role and whose it is, such as ``"owner of hospital-a"``.
    templates
        The directory of its templates.
    collectors
        Collectors of `prometheus_client`, for ``/metrics``.
    healthy
        Returns whether what the role is about is up; for ``/healthz``.
    """

    name: str
    title: str
    templates: Path
    pages: tuple[Page, ...]
    downloads: tuple[Download, ...] = ()
    actions: tuple[Action, ...] = ()
    collectors: Callable[[], Iterable[Any]] = field(default=lambda: ())
    healthy: Callable[[], bool] = field(default=lambda: True)

    def address(self, path: str) -> str:
        """Return the whole path of what is at ``path`` below the role's."""
        return f"/{self.name}{path}"
