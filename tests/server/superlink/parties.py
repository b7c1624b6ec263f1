"""The parties that ask the gate for something, as their programs do."""

import asyncio
import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from cryptography.hazmat.primitives import serialization
from flwr.app import ArrayRecord, Message, RecordDict
from flwr.app.message import make_message, remove_content_from_message
from flwr.common.constant import NOOP_FLWR_AID
from flwr.common.serde import message_to_proto, metadata_from_proto
from flwr.proto.fleet_pb2 import (
    ActivateNodeRequest,
    ActivateNodeResponse,
    PullMessagesRequest,
    PullMessagesResponse,
    PushMessagesRequest,
    PushMessagesResponse,
)
from flwr.proto.heartbeat_pb2 import SendNodeHeartbeatRequest, SendNodeHeartbeatResponse
from flwr.proto.message_pb2 import (
    ConfirmMessageReceivedRequest,
    ConfirmMessageReceivedResponse,
    PushObjectRequest,
    PushObjectResponse,
)
from flwr.proto.node_pb2 import Node
from flwr.proto.runtime_pb2 import (
    PullAppMessagesRequest,
    PullAppMessagesResponse,
    PushAppMessagesRequest,
    PushAppMessagesResponse,
)
from flwr.supercore.constant import NOOP_FEDERATION_ID, TaskType
from flwr.supercore.date import now
from flwr.supercore.inflatable.inflatable_object import (
    get_all_nested_objects,
    get_object_tree,
    no_object_id_recompute,
)
from flwr.supercore.primitives.asymmetric import sign_message
from flwr.supercore.protobuf.constants import PROTOBUF_MEDIA_TYPE
from flwr.supercore.task_identity import TaskIdentity
from flwr.supercore.version import package_version

from fl_app.host.party_keys import modeller_identity, node_key, pod_card
from server.superlink import routes, tokens
from server.superlink.registry import node_pem

AUDIENCE = "ab" * 32
PROTOBUF = {"content-type": PROTOBUF_MEDIA_TYPE, "accept": PROTOBUF_MEDIA_TYPE}


def ask(app: Any, path: str, headers: Mapping[str, str] | list[tuple[str, str]] = (), **more: Any) -> httpx.Response:  # type: ignore[assignment]
    async def asked() -> httpx.Response:
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="https://superlink") as client:
            return await client.request(more.pop("method", "POST"), path, headers=headers, **more)

    return asyncio.run(asked())


def bearer(home: Path, for_whom: str = AUDIENCE, now: float | None = None) -> dict[str, str]:
    return {"Authorization": f"Bearer {tokens.make_token(modeller_identity(home), for_whom, now)}"}


def signed(name: str, home: Path) -> dict[str, str]:
    """The headers of an authenticated SuperNode."""
    key: Any = serialization.load_ssh_private_key(node_key(name, home).read_bytes(), password=None)
    timestamp = now().isoformat()
    signature = sign_message(key, timestamp.encode())
    return {
        "flwr-public-key": base64.b64encode(node_pem(pod_card(name, home))).decode(),
        "flwr-timestamp": timestamp,
        "flwr-signature": base64.b64encode(signature).decode(),
    }


def activate(app: Any, name: str, home: Path, headers: Mapping[str, str]) -> httpx.Response:
    request = ActivateNodeRequest(public_key=node_pem(pod_card(name, home)), heartbeat_interval=30)
    version = {"flwr-package-name": "flwr", "flwr-package-version": package_version, "flwr-component-name": "SuperNode"}
    return ask(app, routes.ACTIVATE, {**PROTOBUF, **version, **headers}, content=request.SerializeToString())


class Call:
    """One request to ``app`` within a running event loop, whose sender may hang up before it is answered."""

    def __init__(self, app: Any, path: str, headers: Mapping[str, str], body: Any) -> None:
        self._parts = [{"type": "http.request", "body": body.SerializeToString(), "more_body": False}]
        self._gone = asyncio.Event()
        self.status, self.body = 0, b""
        length = str(len(self._parts[0]["body"]))  # type: ignore[arg-type]
        sent = {**PROTOBUF, **headers, "content-length": length}
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "https",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(name.lower().encode(), value.encode()) for name, value in sent.items()],
            "client": ("192.0.2.1", 4),
            "server": ("superlink", 443),
        }
        self.task = asyncio.create_task(app(scope, self._receive, self._send))

    async def _receive(self) -> Any:
        if self._parts:
            return self._parts.pop()
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        self.status = message.get("status", self.status)
        self.body += message.get("body", b"")

    def hang_up(self) -> None:
        """Be gone, as a process is that was killed."""
        self._gone.set()

    async def answer(self, kind: Any) -> Any:
        """Return the answer to the request, which is to be a success."""
        async with asyncio.timeout(30):
            await self.task
        assert self.status == 200, self.body
        return kind.FromString(self.body)

    async def is_held(self) -> bool:
        """Say whether the request is still under way after Flower has had the time to answer it."""
        await asyncio.sleep(0.3)
        return not self.task.done()


class PodCaller:
    """A pod's node at ``app``: what Flower's SuperNode asks for, one request after the other."""

    def __init__(self, app: Any, name: str, home: Path) -> None:
        self._app, self._name, self._home = app, name, home
        self.node = 0

    def call(self, path: str, request: Any) -> Call:
        version = {"flwr-package-name": "flwr", "flwr-package-version": package_version}
        headers = {**version, "flwr-component-name": "SuperNode", **signed(self._name, self._home)}
        return Call(self._app, path, headers, request)

    async def activate(self) -> None:
        key = node_pem(pod_card(self._name, self._home))
        call = self.call(routes.ACTIVATE, ActivateNodeRequest(public_key=key, heartbeat_interval=30))
        self.node = (await call.answer(ActivateNodeResponse)).node_id

    def pull(self) -> Call:
        return self.call(routes.PULL, PullMessagesRequest(node=Node(node_id=self.node)))

    async def received(self, pull: Call) -> Any:
        """Return the metadata of the message that a pull brings; None if it brings none."""
        answer = await pull.answer(PullMessagesResponse)
        return answer.messages_list[0].metadata if answer.messages_list else None

    async def confirm(self, data: Any) -> None:
        request = ConfirmMessageReceivedRequest(
            node=Node(node_id=self.node), run_id=data.run_id, message_object_id=data.message_id
        )
        await self.call(routes.CONFIRM, request).answer(ConfirmMessageReceivedResponse)

    async def beat(self) -> None:
        request = SendNodeHeartbeatRequest(node=Node(node_id=self.node), heartbeat_interval=30)
        assert (await self.call(routes.HEARTBEAT, request).answer(SendNodeHeartbeatResponse)).success

    def reply(self, data: Any, size: int = 3) -> "Parcel":
        """Return a reply to a message that was received."""
        metadata = metadata_from_proto(data)
        original = make_message(metadata=metadata, content=RecordDict())
        content = RecordDict({"values": ArrayRecord([np.arange(size)])})
        TaskIdentity._task_id, TaskIdentity._run_id, TaskIdentity._node_id = 1, data.run_id, self.node
        return Parcel(Message(content, reply_to=original))

    async def push(self, parcel: "Parcel", *, objects: bool = True) -> Any:
        """Send a reply, and its objects unless they are to come later; returns Flower's answer."""
        request = PushMessagesRequest(
            node=Node(node_id=self.node), messages_list=[parcel.proto], message_object_trees=[parcel.tree]
        )
        pushed = await self.call(routes.PUSH, request).answer(PushMessagesResponse)
        if objects:
            await self.push_objects(parcel, pushed)
        return pushed

    async def push_objects(self, parcel: "Parcel", pushed: Any) -> None:
        for request in parcel.objects(pushed, self.node):
            assert (await self.call(routes.PUSH_OBJECT, request).answer(PushObjectResponse)).stored


class ServerAppCaller:
    """The ServerApp of a new run at ``app``."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._state = app.state.linkstate_factory.state()
        self.run = self._state.create_run(
            "id", "1", "hash", {}, NOOP_FEDERATION_ID, None, NOOP_FLWR_AID, TaskType.SERVER_APP
        )
        task = self._state.get_run_info(run_ids=[self.run])[0].primary_task_id
        self._token = self._state.claim_task(task)
        assert self._state.activate_task(task)

    def call(self, path: str, request: Any) -> Call:
        version = {"flwr-package-name": "flwr", "flwr-package-version": package_version}
        headers = {**version, "flwr-component-name": "flwr-serverapp", "flwr-task-token": self._token}
        return Call(self._app, path, headers, request)

    def message(self, node: int, size: int = 3) -> "Parcel":
        """Return a message to a node."""
        TaskIdentity._task_id, TaskIdentity._run_id, TaskIdentity._node_id = 1, self.run, 1
        content = RecordDict({"values": ArrayRecord([np.arange(size)])})
        return Parcel(Message(content, dst_node_id=node, message_type="train", ttl=600))

    async def push(self, *parcels: "Parcel", objects: bool = True) -> Any:
        """Send messages, and their objects unless they are to come later; returns Flower's answer."""
        request = PushAppMessagesRequest(
            messages_list=[parcel.proto for parcel in parcels], message_object_trees=[parcel.tree for parcel in parcels]
        )
        pushed = await self.call(routes.PUSH_OF_TASK, request).answer(PushAppMessagesResponse)
        assert all(pushed.message_ids)
        if objects:
            for parcel in parcels:
                await self.push_objects(parcel, pushed)
        return pushed

    async def push_objects(self, parcel: "Parcel", pushed: Any) -> None:
        for request in parcel.objects(pushed, 1):
            await self.call(routes.PUSH_OBJECT_OF_TASK, request).answer(PushObjectResponse)

    def pull(self, *parcels: "Parcel") -> Call:
        return self.call(routes.PULL_OF_TASK, PullAppMessagesRequest(message_ids=[parcel.id for parcel in parcels]))

    async def received(self, pull: Call) -> list[Any]:
        """Return the replies that a pull brings."""
        return list((await pull.answer(PullAppMessagesResponse)).messages_list)


class Parcel:
    """A message as it goes over the wire: its metadata, and its content as a tree of objects."""

    def __init__(self, message: Any) -> None:
        with no_object_id_recompute():
            self.id = message.metadata.__dict__["_message_id"] = message.object_id
            self.tree = get_object_tree(message)
            self._objects = {name: part.deflate() for name, part in get_all_nested_objects(message).items()}
        self._run = message.metadata.run_id
        self.proto = message_to_proto(remove_content_from_message(message))

    def objects(self, pushed: Any, node: int) -> list[Any]:
        return [
            PushObjectRequest(
                node=Node(node_id=node),
                run_id=self._run,
                object_id=name,
                object_content=content,
                session_id=pushed.session_id,
            )
            for name, content in self._objects.items()
            if name in pushed.objects_to_push
        ]
