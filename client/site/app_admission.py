"""Whether a run's app may run at a pod: an approved version, started with settings that the owner's policy allows.

The guard asks this before anything of the app is unpacked. A refusal's text is made of public facts only; it is entered
in the pod's ledger, and the bundle is stored for the owner to inspect.
"""

import io
import tomllib
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from client.site.approved_apps import Apps, hash_of
from fl_app.errors import UsageError

if TYPE_CHECKING:
    from flwr.app import RecordDict

    from fl_app.pod.policy import Policy

NOT_APPROVED = "app"
_AT_MOST = {
    "rounds": "maximum_rounds",
    "num-server-rounds": "maximum_rounds",
    "local-epochs": "maximum_local_epochs",
    "local-steps": "maximum_local_steps",
}


@dataclass(frozen=True)
class Request:
    """What came with a message: the run, the message's type, the app's bundle, and the settings changed for the run."""

    run: str
    kind: str
    content: bytes
    settings: Mapping[str, Any]


def admit(request: Request, name: str, directory: Path, file: Path) -> "RecordDict | None":
    """Return None if the app may run at pod ``name``, or else the refusal to answer with.

    Parameters
    ----------
    request
        What came with the message.
    name, directory, file
        The pod, its home, and the file in which its owner's policy is written.

    Raises
    ------
    Exception
        Of any kind if the question cannot be answered, as for a pod file that has become wrong: that is no yes.
    """
    apps, hash_ = Apps(directory), hash_of(request.content)
    if not apps.approved(hash_):
        with suppress(UsageError):  # a full disk is no reason to be silent
            apps.refuse(request.content)
        text = (
            f"pod '{name}' does not run this version of the app (sha256 {hash_[:12]}...): "
            "its owner approves it with `fl-app pod approve-app`"
        )
        return refuse(request, name, directory, NOT_APPROVED, text)
    if request.settings:
        from fl_app.pod.pod_file import load_pod

        if why := beyond(request.settings, declared(request.content), load_pod(file).policy):
            return refuse(request, name, directory, "policy", f"pod '{name}' does not run the app so: {why}")
    return None


def declared(content: bytes) -> dict[str, Any]:
    """Return the settings that an app's pyproject.toml declares, with their defaults; nested ones with dots."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        project = tomllib.loads(archive.read("pyproject.toml").decode())
    return dict(_flat(project["tool"]["flwr"]["app"].get("config", {}), ""))


def _flat(table: Mapping[str, Any], prefix: str) -> list[tuple[str, Any]]:
    settings: list[tuple[str, Any]] = []
    for key, value in table.items():
        settings += _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(f"{prefix}{key}", value)]
    return settings


def beyond(settings: Mapping[str, Any], known: Mapping[str, Any], policy: "Policy") -> str:
    """Return in what ``settings``, changed for one run, go beyond the owner's policy; "" if in nothing.

    Only a setting that the app declares may be changed. The app's own defaults were approved with it.
    """
    for key, value in settings.items():
        if key not in known:
            return "a setting that the app does not declare was given"  # its name is the sender's, not repeated
        limit = getattr(policy, _AT_MOST[key]) if key in _AT_MOST else None
        if key in _AT_MOST and not (_whole(value) and value >= 0):
            return f"'{key}' must be a whole number"
        if limit is not None and value > limit:
            return f"its owner allows {key} = {limit} at most"
        if key == "secure" and value is not True and policy.require_secure_aggregation:
            return "its owner requires secure aggregation"
        if key == "threshold" and not (_whole(value) and (value == 0 or value >= (policy.minimum_threshold or 2))):
            return f"its owner asks for a threshold of {policy.minimum_threshold or 2} at least"
        if key == "pods" and value and len(set(str(value).replace(",", " ").split())) < policy.minimum_cohort:
            return f"its owner asks for {policy.minimum_cohort} pods at least"
    return ""


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def refuse(request: Request, name: str, directory: Path, code: str, text: str) -> "RecordDict":
    """Enter a refusal in the pod's ledger and return the reply that states it."""
    from flwr.app import RecordDict

    from client.app.ledger import Ledger
    from fl_app.flower import records
    from fl_app.system.home import LEDGER_FILE

    Ledger(directory / LEDGER_FILE, hash_of(request.content)).enter_refusal(request.run, request.kind, 0, text)
    return records.put(RecordDict(), records.Refusal(name, code, text))
