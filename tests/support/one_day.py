"""A day that lasts: ledgers count by the day, and a test may begin just before midnight, UTC."""

from datetime import UTC, datetime, tzinfo

import pytest


def on_one_day(patch: pytest.MonkeyPatch) -> None:
    """Let the ledgers' clock stand still at the end of this day, should it come."""
    last = datetime.now(UTC).replace(hour=23, minute=59, second=59, microsecond=999_999)

    class Today(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return min(super().now(tz), last)

    patch.setattr("client.app.ledger.datetime", Today)
