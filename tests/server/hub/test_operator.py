"""The operator's pages: what is there and what is not, hostile texts in all that others write, metrics and health."""

import re
import shutil
from pathlib import Path

import pytest

from server.hub import log_tail
from server.hub.operator_metrics import OperatorMetrics
from server.hub.parties import Sources
from server.superlink.directory import SuperLinkDirectory
from tests.server.hub.operated import Operators, document, node, provisioned, run, saying

PAGES = ("/operator/", "/operator/parties", "/operator/parties/north", "/operator/runs", "/operator/log")
HOSTILE = '<script>alert("1")</script><img src=x onerror=alert(1)>\x1b[31m\u202e'


@pytest.fixture
def directory(tmp_path: Path) -> SuperLinkDirectory:
    return provisioned(tmp_path)


def test_it_says_who_is_there_and_whom_a_run_waits_for(directory: SuperLinkDirectory) -> None:
    with saying(directory, document()):
        overview = Operators(directory).page("/operator/")
    assert "1 of 2" in overview
    assert "at work" in overview
    assert ">offline<" in overview or ">not seen yet<" in overview
    assert re.search(r'data-key="17".*?/operator/parties/ada.*?/operator/parties/north', overview, re.S)
    assert "has waited for north" in overview


def test_while_the_superlink_is_down_every_page_is_there_and_says_the_command(directory: SuperLinkDirectory) -> None:
    operators = Operators(directory)
    for path in PAGES:
        operators.page(path)
    assert f"fl-app superlink run {directory.path}" in operators.page("/operator/")
    assert "does not answer" in operators.page("/operator/")
    assert operators.get("/healthz").status_code == 503


@pytest.mark.parametrize("said", [b"", b"{", b"[1]", b'{"time": 1', b"\xff"], ids=repr)
def test_what_is_no_document_counts_as_none(directory: SuperLinkDirectory, said: bytes) -> None:
    with saying(directory, said):
        assert "does not answer" in Operators(directory).page("/operator/")


def test_the_superlink_is_asked_when_somebody_looks_and_never_otherwise(directory: SuperLinkDirectory) -> None:
    with saying(directory, document()) as asked:
        operators = Operators(directory)
        assert asked == [0]
        for path in PAGES[:4]:
            operators.page(path)
    assert 1 <= asked[0] <= 4


def test_hostile_texts_of_modellers_and_in_the_log_are_shown_and_do_nothing(directory: SuperLinkDirectory) -> None:
    log = directory.path / "superlink.log"
    log.write_bytes(f"\x1b[92mINFO \x1b[0m:      {HOSTILE}\n".encode() + b"\xff\xfe\x00 bytes\r\nlast\n")
    hostile = run(status="finished", sub_status="failed", details=HOSTILE, waits_for=[])
    with saying(directory, document(runs=[hostile], nodes=[node("north", "online", flwr=HOSTILE)])):
        operators = Operators(directory)
        shown = [operators.page(path) for path in (*PAGES, "/operator/parties/ada", f"/operator/log?q={HOSTILE[:8]}")]
    for page in shown:
        assert "<script>" not in page
        assert "<img" not in page
        assert "\x1b" not in page
        assert "\u202e" not in page
    assert "INFO  &lt;script&gt;" in shown[4]
    assert "&lt;script&gt;" in shown[3]


def test_a_card_that_is_damaged_or_another_partys_is_named_and_registers_nobody(directory: SuperLinkDirectory) -> None:
    registered = directory.path / "registered"
    (registered / "east.card").write_text(f"east ed25519 {HOSTILE}\n")
    shutil.copy(registered / "north.card", registered / "<b>west.card")
    operators = Operators(directory)
    parties, overview = operators.page("/operator/parties"), operators.page("/operator/")
    assert "registered/east.card" in parties
    assert "registered/&lt;b&gt;west.card" in parties
    assert overview.count("is no valid card") >= 2
    assert operators.get("/operator/parties/east").status_code == 404
    assert "<b>west" not in parties + overview


def test_a_revocation_is_shown_and_a_damaged_record_of_one_needs_attention(directory: SuperLinkDirectory) -> None:
    operators = Operators(directory)
    operators.page("/operator/parties")
    card = directory.registry.revoke("south")
    parties = operators.page("/operator/parties")
    assert "No card has been revoked" not in parties
    assert card.fingerprint in parties
    assert operators.get("/operator/parties/south").status_code == 404
    (directory.path / "revoked" / "torn.card").write_text("torn")
    assert "torn.card cannot be read" in operators.page("/operator/")


@pytest.mark.parametrize("name", ["nobody", "%2e%2e%2fca.key", "north%00", "<script>"])
def test_a_party_that_is_not_there_is_not_found(directory: SuperLinkDirectory, name: str) -> None:
    answer = Operators(directory).get(f"/operator/parties/{name}")
    assert answer.status_code in (303, 404)
    assert "<script>alert" not in answer.text


def test_a_pod_has_a_page_with_the_exact_commands(directory: SuperLinkDirectory) -> None:
    page = Operators(directory).page("/operator/parties/north")
    assert f'data-copy="fl-app superlink revoke {directory.path} north"' in page
    assert f"fl-app provision 127.0.0.1:1 north.card --directory {directory.path}" in page
    assert directory.registry.cards["north"].fingerprint in page


def test_nobody_registered_is_an_empty_state_with_the_next_command(tmp_path: Path) -> None:
    made = SuperLinkDirectory.provision(tmp_path / "with space", "127.0.0.1:1")
    page = Operators(made).page("/operator/")
    assert "No pod is registered yet" in page
    assert f"fl-app provision 127.0.0.1:1 NAME.card --directory &#39;{tmp_path}/with space&#39;" in page


def test_a_certificate_that_ends_soon_needs_attention(
    directory: SuperLinkDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    for days, said in ((29, "expires in 29 days"), (-1, "has expired")):
        monkeypatch.setattr(SuperLinkDirectory, "days_left", lambda _, days=days: days)
        page = Operators(directory).page("/operator/")
        assert said in page
        assert f"fl-app superlink renew {directory.path}" in page


def test_the_log_is_read_from_its_end_and_requests_only_if_asked_for(
    directory: SuperLinkDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_tail, "_READ_BYTES", 20_000)
    request = '2026-01-02T03:04:05Z INFO [uvicorn.access] 127.0.0.1:5 - "POST /v1/fleet/get-run HTTP/1.1" 200'
    lines = [f"line {number:05d}\n{request}\n" for number in range(2000)]
    (directory.path / "superlink.log").write_text("".join(lines))
    page = Operators(directory).page("/operator/log")
    assert "line 01999" in page
    assert "line 00001" not in page
    assert "get-run" not in page
    assert "get-run" in Operators(directory).page("/operator/log?requests=1")
    found = Operators(directory).page("/operator/log?q=LINE+01998")
    assert re.search(r"<pre[^>]*>line 01998\n</pre>", found)
    assert "No line holds this" in Operators(directory).page("/operator/log?q=nothing")


def test_what_the_gate_refuses_is_never_hidden() -> None:
    for line in ("refused POST '/v1/control/start-run' from 192.0.2.1: no token", '"POST /x HTTP/1.1" 500'):
        assert not log_tail._REQUEST.search(line)


def test_metrics_have_what_the_pages_show(directory: SuperLinkDirectory) -> None:
    directory.registry.started(17, "ada")
    with saying(directory, document()):
        text = Operators(directory).get("/metrics").text
    for line in (
        "fl_app_superlink_up 1.0",
        "fl_app_superlink_pods_registered 2.0",
        "fl_app_superlink_pods_online 1.0",
        'fl_app_superlink_pod_online{pod="south"} 0.0',
        'fl_app_superlink_pod_at_work{pod="north"} 1.0',
        'fl_app_superlink_runs{status="running"} 1.0',
        "fl_app_superlink_runs_started_total 1.0",
    ):
        assert f"{line}\n" in text
    down = Operators(directory).get("/metrics").text
    assert "fl_app_superlink_up 0.0\n" in down
    assert "pods_online" not in down
    assert "fl_app_superlink_certificate_days_left 396.0\n" in down


def test_every_metric_is_listed_with_what_it_means(directory: SuperLinkDirectory) -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "metrics.md").read_text("utf-8")
    with saying(directory, document()):
        made = {family.name: family.type for family in OperatorMetrics(Sources(directory)).collect()}
    named = {f"{name}_total" if kind == "counter" else name for name, kind in made.items()}
    assert set(re.findall(r"`(fl_app_superlink_\w+)", page)) == named
