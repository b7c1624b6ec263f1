"""Flower's ``flower-superexec``, over TLS, with the modeller's token on every request for a task.

Run as a module with the address of the SuperLink and, unless the system's are meant, the certificates (PEM) against
which the SuperLink's is checked. It runs ServerApps only, and ends with `NOT_ADMITTED` if the SuperLink refuses it.

``run_superexec.SuperExecAuthHttpInterceptor`` and ``AutoExecPlugin.supported_task_types`` are internals of Flower;
tests/server/deployed/test_credentials.py fails if a later Flower moves them or calls them otherwise.
"""

import sys
from collections.abc import Callable, Collection, MutableMapping
from pathlib import Path
from typing import Any, Protocol

from server.deployed.credentials import token_for

NOT_ADMITTED = 84
"""Exit code of an executor that the SuperLink has refused; beyond those of Python, of a shell and of Flower."""


class Request(Protocol):
    """An HTTP request of Flower's, as far as it is needed here."""

    @property
    def headers(self) -> MutableMapping[str, str]:
        """Its headers, which may be changed."""


class Call(Protocol):
    """A call of the SuperLink's API that is about to be made."""

    @property
    def rpc_method(self) -> str:
        """The name of the method called."""

    @property
    def request(self) -> Request:
        """The request that carries it."""


class TokenInterceptor:
    """An interceptor for Flower's HTTP client that adds the modeller's token to requests for a task."""

    def __init__(self, root_certificates: Path | None, methods: Collection[str]) -> None:
        self._root_certificates = root_certificates
        self._methods = methods

    def intercept(self, context: Call, call_next: Callable[[Call], Any]) -> Any:
        """Make the call, with a fresh token if it is one for a task; raises `PermissionError` if it is refused."""
        if context.rpc_method not in self._methods:
            return call_next(context)
        if token := token_for(self._root_certificates):
            context.request.headers["Authorization"] = f"Bearer {token}"
        answer = call_next(context)
        if answer.status_code in (401, 403):
            raise PermissionError
        return answer


def main(superlink: str, root_certificates: Path | None = None) -> None:
    """Run ServerApps from ``superlink`` until this process is ended."""
    from flwr.supercore.constant import TaskType
    from flwr.supercore.superexec import run_superexec as module
    from flwr.supercore.superexec.plugin import AutoExecPlugin

    def with_token(*, master_secret: bytes, protected_methods: Collection[str]) -> TokenInterceptor:
        return TokenInterceptor(root_certificates, protected_methods)

    # Without this, an executor would also run ClientApps, should a SuperLink offer it any.
    AutoExecPlugin.supported_task_types = frozenset({TaskType.SERVER_APP})
    executor: Any = module
    # Flower's interceptor proves a secret shared by all executors of a SuperLink; here each modeller has a token.
    executor.SuperExecAuthHttpInterceptor = with_token
    try:
        executor.run_superexec(
            superlink,
            insecure=False,
            root_certificates_path=str(root_certificates) if root_certificates else None,
            superexec_auth_secret=b"unused",  # without a secret, Flower would install no interceptor
        )
    except PermissionError:
        sys.exit(NOT_ADMITTED)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]) if len(sys.argv) > 2 else None)
