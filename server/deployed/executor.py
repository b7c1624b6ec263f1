"""Flower's ``flower-superexec``, over TLS, with the modeller's token on every question for work.

Run as a module with the address of the SuperLink and, unless the system's are meant, the certificates (PEM) to check
the SuperLink's by. It carries out ServerApps and nothing else, and it ends with `NOT_ADMITTED` if it is turned away.
"""

import sys
from collections.abc import Collection
from pathlib import Path
from typing import Any

from server.deployed.credentials import token_for

NOT_ADMITTED = 84


class WithToken:
    """An interceptor of Flower's: adds the modeller's token to a request for a task."""

    def __init__(self, root_certificates: Path | None, methods: Collection[str]) -> None:
        self._root_certificates = root_certificates
        self._methods = methods

    def intercept(self, context: Any, call_next: Any) -> Any:
        """Send the request, if it is one for a task with a token that was made for it."""
        if context.rpc_method not in self._methods:
            return call_next(context)
        if token := token_for(self._root_certificates):
            context.request.headers["Authorization"] = f"Bearer {token}"
        answer = call_next(context)
        if answer.status_code in (401, 403):
            raise PermissionError
        return answer


def main(superlink: str, root_certificates: Path | None = None) -> None:
    """Carry out ServerApps from ``superlink`` until this process is ended."""
    from flwr.supercore.constant import TaskType
    from flwr.supercore.superexec import run_superexec as module
    from flwr.supercore.superexec.plugin import AutoExecPlugin

    def with_token(*, master_secret: bytes, protected_methods: Collection[str]) -> WithToken:
        return WithToken(root_certificates, protected_methods)

    AutoExecPlugin.supported_task_types = frozenset({TaskType.SERVER_APP})
    executor: Any = module
    # In the place where Flower puts the proof of a secret that all executors of a SuperLink would share.
    executor.SuperExecAuthHttpInterceptor = with_token
    try:
        executor.run_superexec(
            superlink,
            insecure=False,
            root_certificates_path=str(root_certificates) if root_certificates else None,
            superexec_auth_secret=b"unused",
        )
    except PermissionError:
        sys.exit(NOT_ADMITTED)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]) if len(sys.argv) > 2 else None)
