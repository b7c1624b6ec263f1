"""The owner's pages over a real ledger: what they say, that others' texts stay texts, and what the buttons do."""

import re
from pathlib import Path
from urllib.parse import quote

import pytest

from client.app.ledger import Ledger
from client.app.ledger_entries import IN_CLEAR
from client.hub import compared
from client.site.approved_apps import Apps, hash_of
from fl_app.identity.known_pods import Keyring, known_pods
from fl_app.pod.policy import Policy
from fl_app.secagg.crypto import fingerprint
from fl_app.secagg.ledger_protocol import Account
from tests.client.hub.conftest import MARKUP, SOUTH, Home, bundle

PAGES = ("/", "/ledger", "/runs", "/runs/7", "/approvals", "/apps", "/policy", "/data", "/budget")
EMPTY = tuple(page for page in PAGES if page != "/runs/7")


def text_of(page: str) -> str:
    """Return a page without its tags, its white space in single spaces."""
    return " ".join(re.sub("<[^>]*>", " ", page).split())


@pytest.mark.parametrize("page", EMPTY)
def test_a_pod_without_a_history_has_pages_too(bare: Home, page: str) -> None:
    assert bare.page(page)


def test_an_empty_state_says_what_to_type_next(bare: Home) -> None:
    assert "fl-app pod run FILE" in bare.page("/ledger")
    assert "fl-app pod approve-app north" in bare.page("/apps")
    assert "fl-app pod approve OTHER-POD OTHER-POD.card" in bare.page("/approvals")
    assert "fl-app pod check FILE" in bare.page("/data")


def test_the_overview_begins_with_what_waits_for_the_owner(home: Home) -> None:
    page = text_of(home.page("/"))
    (refused,) = Apps(home.directory).refused()
    assert f"fl-app pod approve-app north {refused} --home" in page
    assert "east is in approved_pods, but its key is not known" in page
    assert page.index("Waiting for you") < page.index("messages answered 11")
    assert "not online" in page
    assert "epsilon spent 0.687 of 3" in page


def test_the_ledger_says_in_which_form_something_left(home: Home) -> None:
    page = text_of(home.page("/ledger"))
    assert "the update of training round 3, with counts of how well the model did one masked vector 1.0 kB" in page
    assert "one masked vector, with the noise of a private run" in page
    assert "shares of this session&#39;s secrets, each sealed for one other pod sealed" in page
    head = home.ledger.entries()[-1].head.hex()
    assert f"fl-app pod log north --since {head}" in page


def test_an_answer_in_the_clear_is_not_called_masked(home: Home) -> None:
    account = Account("11", "11", {"north": bytes(32), "south": SOUTH})
    head = home.ledger.enter_session(account, b"session", b"", size=100)
    head = home.ledger.enter_begin(account, "train", 1, bytes(32), head)
    home.ledger.enter_answer(account, "train", 1, bytes(32), head, 10, IN_CLEAR)
    page = text_of(home.page("/runs/11"))
    assert "did in the clear" in page
    assert "answers in the clear" in page
    assert "masked vector" not in page


def test_the_ledger_is_paged_and_filtered(home: Home) -> None:
    for number in range(60):
        home.ledger.enter_refusal(str(1000 + number), "query.hello", 0, "no")
    first, second = home.page("/ledger"), home.page("/ledger?page=2")
    assert "page=2" in first
    assert "entry-80" in first
    assert 'entry-30"' not in first
    assert 'entry-30"' in second
    filtered = home.page("/ledger?run=7&event=answer")
    assert filtered.count('data-key="entry-') == 5
    assert "No entry is of this run and event" in home.page("/ledger?run=none")
    headers = home.session()
    for page in ("/ledger?page=9", "/runs?page=99", "/runs/none"):
        assert home.call("GET", f"/owner{page}", headers=headers).status_code == 404
    for odd in ("0", "-1", "x", "9" * 40, "²", ""):
        assert 'entry-80"' in home.page(f"/ledger?page={odd}")


def test_a_run_names_its_cohort_by_keys_and_its_app(home: Home) -> None:
    page = text_of(home.page("/runs/7"))
    assert f"south {fingerprint(SOUTH)} known" in page
    assert "abababababab not approved" in page
    Keyring.load(known_pods(home.directory.parents[1])).replace("south", bytes([2]) * 32)
    assert "another key is known now" in home.page("/runs/7")


def test_approvals_come_from_the_file_and_the_known_keys(home: Home) -> None:
    page = text_of(home.page("/approvals"))
    assert f"south approved {fingerprint(SOUTH)}" in page
    assert "east key missing" in page
    assert f"fl-app pod approve east east.card --pod {home.file} --home" in page
    assert "fl-app pod revoke south --home" in page
    home.file.write_text(home.file.read_text().replace("[south, east]", "[]"))
    page = text_of(home.page("/approvals"))
    assert "south not approved" in page
    assert "1 more must be approved" in page


def test_a_file_that_is_wrong_says_so_on_the_pages(home: Home) -> None:
    home.file.write_text("name: south\n")
    for page in ("/", "/approvals", "/policy", "/data"):
        assert "datasource" in home.page(page)
    home.file.unlink()
    assert "No such file" in home.page("/policy")
    known_pods(home.directory.parents[1]).write_text("south ed25519 no\n")
    assert "known_pods, line 1" in home.page("/approvals")


def test_every_term_of_the_policy_is_explained(home: Home) -> None:
    page = home.page("/policy")
    for name, field in Policy.model_fields.items():
        assert f"<code>{name}</code>" in page
        assert str(field.description).split("'")[0][:30] in page
    assert "<b>3.0</b>" in page


def test_what_was_published_last_is_shown(home: Home) -> None:
    page = text_of(home.page("/data"))
    assert "3 columns, as the pod described them last" in page
    assert "sex categorical 2 categories f, m" in page
    (home.directory / "encoded" / "published-ff").write_bytes(b"damaged")
    assert "sex categorical" in text_of(home.page("/data"))


def test_a_refused_version_is_compared_with_the_last_approved(home: Home) -> None:
    (refused,) = Apps(home.directory).refused()
    page = text_of(home.page(f"/apps/{refused}"))
    assert f"1 file differs from {hash_of(bundle())[:12]}" in page
    assert "+y = &#39;&lt;script&gt;alert(1)&lt;/script&gt;\\u202e\\x1b[2J&#39;" in page
    for version in (hash_of(bundle()), "0" * 64, "..%2f..%2fidentity.key", refused[:12]):
        assert home.call("GET", f"/owner/apps/{version}", headers=home.session()).status_code == 404


def test_a_bundle_that_takes_too_long_to_compare_does_not_hold_the_hub(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compared, "SECONDS", 0.01)
    compared._compared.cache_clear()
    (refused,) = Apps(home.directory).refused()
    assert "comparing takes more than" in home.page(f"/apps/{refused}")
    compared._compared.cache_clear()


def test_a_refused_bundle_that_is_none_says_so(home: Home) -> None:
    version = Apps(home.directory).refuse(b"no zip archive")
    assert "it cannot be read as a zip archive" in home.page(f"/apps/{version}")


def test_no_text_of_others_becomes_markup(home: Home) -> None:
    Apps(home.directory).refuse(bundle("z = 1\n", f"{MARKUP.replace('/', '')}.py"))
    (run,) = (run for run in Ledger(home.path).entries() if run.event == "failure")
    named = [f"/apps/{version}" for version in Apps(home.directory).refused()]
    assert f'href="/owner/runs/{quote(run.run, safe="")}"' in home.page("/runs")
    seen = 0
    for page in (*PAGES, *named, "/ledger?run=%3Cscript%3Ealert(1)", "/runs/9", f"/runs/{quote(run.run, safe='')}"):
        text = home.page(page)
        assert "<script>alert" not in text
        assert "\x1b" not in text
        assert "\u202e" not in text
        seen += "&lt;script&gt;alert(1)" in text
    assert seen >= 6


# -- buttons


def form(home: Home) -> tuple[dict[str, str], dict[str, str]]:
    headers = home.session()
    return headers, {"form": home.hub.sessions.form_token(headers["cookie"].partition("=")[2])}


def test_a_button_pauses_the_pod_and_enters_it(home: Home) -> None:
    headers, token = form(home)
    assert "/owner/pause" in home.page("/")
    answer = home.call("POST", "/owner/pause", data=token, headers=headers)
    assert (answer.status_code, answer.headers["location"]) == (303, "/owner/")
    assert (home.directory / "paused").exists()
    page = home.page("/")
    assert "paused" in page
    assert "/owner/resume" in page
    home.call("POST", "/owner/resume", data=token, headers=headers)
    assert not (home.directory / "paused").exists()
    assert [(entry.event, entry.why) for entry in home.ledger.entries()[-2:]] == [
        ("pause", "by the hub's button"),
        ("resume", "by the hub's button"),
    ]


@pytest.mark.parametrize("wrong", ["no form", "another session's form", "another site", "no session"])
def test_no_other_page_pauses_the_pod(home: Home, wrong: str) -> None:
    headers, token = form(home)
    if wrong == "no form":
        token = {}
    elif wrong == "another session's form":
        token = form(home)[1]
    elif wrong == "another site":
        headers["origin"] = "http://127.0.0.1:9"
    else:
        del headers["cookie"]
    assert home.call("POST", "/owner/pause", data=token, headers=headers).status_code in (401, 403)
    assert home.call("GET", "/owner/pause", headers=headers).status_code in (401, 404, 405)
    assert not (home.directory / "paused").exists()
    assert home.ledger.entries()[-1].event == "failure"


def test_beyond_this_machine_there_is_the_command_and_no_button(home: Home) -> None:
    home.again()
    headers, token = form(home)
    page = home.page("/")
    assert "fl-app pod pause north --home" in page
    assert "/owner/pause" not in page
    assert home.call("POST", "/owner/pause", data=token, headers=headers).status_code in (404, 405)
    assert not (home.directory / "paused").exists()


def test_looking_writes_nothing(home: Home) -> None:
    def files() -> dict[Path, tuple[bytes, int]]:
        root = home.directory.parents[1]
        return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in root.rglob("*") if path.is_file()}

    (home.directory / "flower/.serving").touch()
    before = files()
    for page in PAGES:
        home.page(page)
    home.call("GET", "/metrics", headers=home.session())
    assert files() == before


# -- monitoring


def test_metrics_are_those_of_the_ledger_and_the_state(home: Home) -> None:
    (home.directory / "paused").touch()
    text = home.call("GET", "/metrics", headers=home.session()).text
    for line in (
        'fl_app_pod_messages_total{pod="north"} 11.0',
        'fl_app_pod_rounds_total{pod="north"} 4.0',
        'fl_app_pod_refusals_total{pod="north"} 1.0',
        'fl_app_pod_online{pod="north"} 0.0',
        'fl_app_pod_paused{pod="north"} 1.0',
        'fl_app_pod_ledger_verified{pod="north"} 1.0',
        'fl_app_pod_apps_waiting{pod="north"} 1.0',
    ):
        assert line in text
    assert re.search(r'fl_app_pod_epsilon_spent\{pod="north"\} 0\.68', text)
    assert re.search(r'fl_app_pod_last_answer_age_seconds\{pod="north"\} \d', text)
    home.path.write_bytes(b"no ledger")
    text = home.call("GET", "/metrics", headers=home.session()).text
    assert 'fl_app_pod_ledger_readable{pod="north"} 0.0' in text
    assert "fl_app_pod_messages_total" not in text


def test_a_pod_that_is_not_online_is_not_healthy(home: Home) -> None:
    assert home.call("GET", "/healthz").status_code == 503
