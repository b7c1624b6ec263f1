"""The pod at work. A Flower app of one's own is masked with the three names below; see docs/flower-apps.md."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from client.app.masked_app import MaskedApp
    from client.app.owner import Owner, owner_of

__all__ = ["MaskedApp", "Owner", "owner_of"]


def __getattr__(name: str) -> Any:
    """Import what is asked for: an owner's commands need none of it, and Flower takes a second to load."""
    if name == "MaskedApp":
        from client.app.masked_app import MaskedApp

        return MaskedApp
    if name in __all__:
        from client.app import owner

        return getattr(owner, name)
    raise AttributeError(f"module 'client' has no attribute {name!r}")
