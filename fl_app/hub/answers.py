"""The hub's two answers of its own kind: a stream of events, and what is downloaded."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import quote

from starlette.responses import FileResponse, Response, StreamingResponse

from fl_app.hub.guard import Receive, Scope, Send
from fl_app.hub.role import Content


class Stream(StreamingResponse):
    """A stream of events that gives its place back, however it ends."""

    def __init__(self, events: AsyncIterator[str], give: Callable[[], None]) -> None:
        super().__init__(events, media_type="text/event-stream", headers={"x-accel-buffering": "no"})
        self._give = give

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the events, and give the place back."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._give()


def sent(content: Content) -> Response:
    """Return the answer that sends a download."""
    # A page or drawing that a run has written: shown as it is, with no script, form or session of the hub's.
    headers = {
        "content-security-policy": (
            "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox; frame-ancestors 'none'"
        )
    }
    if isinstance(content.body, Path):
        return FileResponse(content.body, media_type=content.media_type, filename=content.name, headers=headers)
    if content.name:
        headers["content-disposition"] = f"attachment; filename*=utf-8''{quote(content.name, safe='')}"
    return Response(content.body, media_type=content.media_type, headers=headers)
