"""Pulls of messages that are answered when there is a message: pods and ServerApps need not ask again and again.

Flower answers a pull at once, with nothing if there is nothing, and has no means to do otherwise. The gate sees every
message that comes in, so it knows whom to answer when. Each held request is put to Flower at once and then only when
something has come for it. What no push tells (an error that Flower makes up once a message's time is over, or a node's)
a ServerApp sees because it is held shortly.

Flower marks a message as delivered when it is pulled, and never gives it again. If the answer does not arrive, the
message would be lost; so an answer to a pod is kept until the pod says that it has the message, and is given once more
if the pod asks for another instead. An answer to a ServerApp that was gone is kept for its next pull.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from server.superlink.bells import Bells
from server.superlink.replay import EMPTY, Answer, Receive, Replay, parsed
from server.superlink.unanswered import Unanswered, UnansweredMessages
from server.superlink.uploads import Upload, Uploads, objects_of

POD_SECONDS = 20.0
"""Longest time for which a pod's pull is held; Flower's clients wait 30 seconds for an answer."""
SERVERAPP_SECONDS = 1.0
"""The same for a ServerApp's, which looks at its deadlines between two pulls."""
_LOOK_SECONDS = 120.0
"""Flower is asked anew for a pod's messages after so long, whatever the gate knows."""
_KEPT_SECONDS = 600.0


@dataclass(frozen=True)
class Pulled:
    """How a pod's pull has ended: the answer, for which node, and whether whoever asked was gone before it came."""

    answer: Answer
    node: int = 0
    broke: bool = False

    @property
    def handed(self) -> bool:
        """Whether the pod has been handed a message."""
        return self.answer.status == 200 and bool(self.answer.body) and not self.broke


@dataclass
class _Handed:
    """A message that a pod was handed and has not confirmed."""

    answer: Answer
    expires: float
    repeated: bool = False


class LongPolls:
    """Holds the pulls of pods and ServerApps, and learns from their pushes whose there is something for."""

    def __init__(self, bells: Bells) -> None:
        self.bells = bells
        self.uploads = Uploads(self._come)
        self.unanswered = UnansweredMessages()
        self._handed: dict[str, _Handed] = {}
        self._kept: dict[int, tuple[float, Answer]] = {}
        self._nothing: dict[int, tuple[str, float]] = {}
        """Which pod has asked when for a node for which Flower had no message, and none has come since."""

    async def pull_of_pod(
        self, replay: Replay, receive: Receive, name: str, check: Callable[[], Answer | None]
    ) -> Pulled:
        """Answer a pod's pull when there is a message for its node, or with none after `POD_SECONDS`.

        ``check`` is called before Flower is asked again, and its answer, if it has one, given instead.
        """
        from flwr.proto.fleet_pb2 import PullMessagesRequest

        request = parsed(PullMessagesRequest, replay.body)
        if request is None:
            return Pulled(await replay())
        node, first = request.node.node_id, True
        if again := self._to_repeat(name):
            return Pulled(again, node)

        async def look() -> Answer | None:
            nonlocal first
            if not first and (refused := check()) is not None:
                return refused
            first = False
            if self._has_nothing(node, name):
                return None
            self._nothing[node] = name, time.monotonic()  # before the look: what comes meanwhile takes it off again
            answer = await replay()
            if answer.status != 200 or answer.body:
                self._nothing.pop(node, None)
                return answer
            return None

        async with self.bells.listening(("node", node), receive) as bell:
            answer = await bell.until(look, POD_SECONDS) or EMPTY
        if answer.status == 200 and answer.body:
            self._hand(name, answer)
        return Pulled(answer, node if answer.status == 200 else 0, bell.gone)

    async def pull_of_serverapp(self, replay: Replay, receive: Receive, run: int) -> Answer:
        """Answer a ServerApp's pull when a reply for its run is there, or with none after `SERVERAPP_SECONDS`."""
        from flwr.proto.runtime_pb2 import PullAppMessagesRequest

        request = parsed(PullAppMessagesRequest, replay.body)
        if request is None or not request.message_ids:
            return await replay()
        if kept := self._kept.pop(run, None):
            return kept[1]

        async def look() -> Answer | None:
            incomplete = {upload.replies_to for upload in self.uploads.to(("run", run))}
            whole = [message for message in request.message_ids if message not in incomplete]
            if incomplete and not whole:
                return None
            answer = await replay(PullAppMessagesRequest(message_ids=whole).SerializeToString())
            return answer if answer.status != 200 or answer.body else None

        async with self.bells.listening(("run", run), receive) as bell:
            answer = await bell.until(look, SERVERAPP_SECONDS)
            if answer is not None and answer.status == 200 and bell.gone:
                now = time.monotonic()
                self._kept = {other: kept for other, kept in self._kept.items() if now - kept[0] < _KEPT_SECONDS}
                self._kept[run] = now, answer
        return answer or EMPTY

    async def push_of_pod(self, replay: Replay, name: str) -> Answer:
        """Let a pod's reply pass; when it is whole, the ServerApp that waits for it is answered."""
        from flwr.proto.fleet_pb2 import PushMessagesRequest, PushMessagesResponse

        answer = await replay()
        request, pushed = parsed(PushMessagesRequest, replay.body), _success(PushMessagesResponse, answer)
        if request is None or pushed is None:
            return answer
        self.confirmed(name)
        for message, tree in zip(request.messages_list, request.message_object_trees, strict=False):
            missing = objects_of(tree, set(pushed.objects_to_push))
            data = message.metadata
            self.unanswered.answered(data.run_id, data.reply_to_message_id)
            self.uploads.begin(
                pushed.session_id, Upload(("run", data.run_id), missing, data.reply_to_message_id, sender=name)
            )
        return answer

    async def push_of_serverapp(self, replay: Replay) -> Answer:
        """Let a ServerApp's messages pass; each pod is answered when its message is whole."""
        from flwr.proto.runtime_pb2 import PushAppMessagesRequest, PushAppMessagesResponse

        answer = await replay()
        request, pushed = parsed(PushAppMessagesRequest, replay.body), _success(PushAppMessagesResponse, answer)
        if request is None or pushed is None:
            return answer
        wanted = set(pushed.objects_to_push)
        for message, tree in zip(request.messages_list, request.message_object_trees, strict=False):
            bell = ("node", message.metadata.dst_node_id)
            self.uploads.begin(pushed.session_id, Upload(bell, objects_of(tree, wanted)))
        for message, stored in zip(request.messages_list, pushed.message_ids, strict=False):
            data = message.metadata
            one = Unanswered(data.dst_node_id, data.message_type, data.created_at, data.created_at + data.ttl)
            if stored:
                self.unanswered.sent(data.run_id, stored, one)
        return answer

    async def push_object(self, replay: Replay) -> Answer:
        """Let an object pass, with which a message may be whole."""
        from flwr.proto.message_pb2 import PushObjectRequest, PushObjectResponse

        answer = await replay()
        pushed = _success(PushObjectResponse, answer)
        if pushed is not None and pushed.stored and (request := parsed(PushObjectRequest, replay.body)) is not None:
            self.uploads.stored(request.session_id, request.object_id)
        return answer

    def confirmed(self, name: str) -> None:
        """Note that the pod has what it was handed."""
        self._handed.pop(name, None)

    def gone(self, name: str) -> None:
        """Note that the pod is gone: what it was sending will not come, and ServerApps may learn of it."""
        self.uploads.drop(name)
        self.bells.ring_all()

    def _come(self, bell: Any) -> None:
        kind, number = bell
        if kind == "node":
            self._nothing.pop(number, None)
        self.bells.ring(bell)

    def _has_nothing(self, node: int, name: str) -> bool:
        """Say whether there is no use in asking Flower for a message for a node, for which this pod has asked before.

        Only Flower knows whose a node is: where another has asked for it, Flower is asked again. It is every now and
        then in any case, so that a message that came by some other way is not lost.
        """
        asked_by, when = self._nothing.get(node, ("", 0.0))
        recent = time.monotonic() - when < _LOOK_SECONDS
        return asked_by == name and (recent or bool(self.uploads.to(("node", node))))

    def _hand(self, name: str, answer: Answer) -> None:
        from flwr.proto.fleet_pb2 import PullMessagesResponse

        handed = parsed(PullMessagesResponse, answer.body)
        if handed is not None and handed.messages_list:
            data = handed.messages_list[0].metadata
            self._handed[name] = _Handed(answer, data.created_at + data.ttl)

    def _to_repeat(self, name: str) -> Answer | None:
        """Return what the pod was handed if it has to be given again."""
        handed = self._handed.get(name)
        if handed is None:
            return None
        if handed.repeated or time.time() > handed.expires:
            # Once more and not for ever: a pod may have its reasons not to take a message.
            del self._handed[name]
            return None
        handed.repeated = True
        return handed.answer


def _success(kind: Any, answer: Answer) -> Any:
    return parsed(kind, answer.body) if answer.status == 200 else None
