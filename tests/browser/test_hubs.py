"""Three pods over TLS, and what operator, modeller and a pod's owner see of them, each in a browser.

It is one test, since what takes the time is the deployment.
"""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.federation import PODS, Federation
from tests.browser.looking import CHROMIUM, Reader, browser
from tests.processes.parties import wait_for

pytestmark = [
    pytest.mark.processes,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium: apt-get install chromium"),
]
SLOW = 90_000
"""Milliseconds to wait for what other processes do."""


@pytest.fixture
def federation(tmp_path: Path) -> Iterator[Federation]:
    made = Federation(tmp_path / "f")
    try:
        made.begin()
        yield made
    finally:
        left = made.stop()
    assert left == []


@pytest.fixture
def chromium() -> Iterator[Browser]:
    with browser() as started:
        yield started


def test_three_parties_see_what_is_theirs(federation: Federation, chromium: Browser) -> None:
    operator = Reader(chromium, federation.hub(federation.operator, "hub", "--superlink", "superlink"))
    pods_come_and_go(federation, operator)
    owner = Reader(chromium, federation.hub(federation.pods["east"], "pod", "hub", "east"))
    modeller = Reader(
        chromium, federation.hub(federation.modeller, "hub", "--federation", "federation.toml", "--runs", "runs")
    )
    federation_is_looked_at(modeller)
    a_paused_pod_is_named_with_its_reason(federation, modeller)
    a_run_proceeds_before_the_eyes(federation, modeller, owner)
    keys_are_enough(federation, owner)
    a_button_pauses_the_pod(owner)
    wrong = [fault for reader in (operator, modeller, owner) for path in pages(reader) for fault in reader.faults(path)]
    assert wrong + operator.wrong + modeller.wrong + owner.wrong == []
    other_roles_pages_are_not_there(operator, modeller, owner)


def pods_come_and_go(federation: Federation, operator: Reader) -> None:
    page = operator.go("/operator/")
    operator.stays()
    processes = {name: federation.join(name) for name in PODS}
    rows = page.locator("#pod-table tbody tr")
    for name in PODS:
        expect(rows.filter(has_text=name)).to_contain_text("online", timeout=SLOW)
    processes["west"].send_signal(signal.SIGTERM)
    expect(rows.filter(has_text="west")).to_contain_text("offline", timeout=SLOW)
    federation.join("west")
    expect(rows.filter(has_text="west")).to_contain_text("online", timeout=SLOW)
    assert operator.stayed()


def federation_is_looked_at(modeller: Reader) -> None:
    page = modeller.go("/modeller/")
    page.once("dialog", lambda dialog: dialog.accept())
    page.click("#ask")
    expect(page.locator("#schema-table")).to_contain_text("outcome", timeout=SLOW)
    expect(page.locator("#approval-table tbody tr")).to_have_count(len(PODS))


def a_paused_pod_is_named_with_its_reason(federation: Federation, modeller: Reader) -> None:
    federation.pods["north"].run("fl-app", "pod", "pause", "north")
    page = modeller.go("/modeller/runs")
    modeller.stays()
    assert federation.fit("--rounds", "2").wait(300) != 0
    row = page.locator("#runs tbody tr").first
    expect(row).to_contain_text("failed", timeout=SLOW)
    row.locator("a").click()
    expect(page.locator("#error")).to_contain_text("north")
    expect(page.locator("#error")).to_contain_text("paused")
    federation.pods["north"].run("fl-app", "pod", "resume", "north")


def a_run_proceeds_before_the_eyes(federation: Federation, modeller: Reader, owner: Reader) -> None:
    ledger, runs = owner.go("/owner/ledger"), modeller.go("/modeller/runs")
    owner.stays()
    before = ledger.locator("#ledger tbody tr").count()
    run = federation.fit("--rounds", "8")
    row = runs.locator("#runs tbody tr")
    expect(row).to_have_count(2, timeout=SLOW)
    row.first.locator("a").click()
    modeller.page.wait_for_selector("h1")
    modeller.stays()
    rounds = runs.locator("#round-table tbody tr")
    expect(rounds.first).to_be_visible(timeout=SLOW)
    seen = rounds.count()
    expect(runs.locator("h1")).to_contain_text("completed", timeout=SLOW)
    assert rounds.count() > seen, "the run was over before anything of it was seen"
    assert modeller.stayed()
    wait_for("entries of the ledger", 30, lambda: ledger.locator("#ledger tbody tr").count() > before)
    assert owner.stayed()
    assert run.wait(60) == 0
    with runs.expect_popup() as report:
        runs.get_by_text("Open the report").click()
    expect(report.value.locator("body")).to_contain_text("outcome", timeout=SLOW)
    report.value.close()


def keys_are_enough(federation: Federation, owner: Reader) -> None:
    """The first key leads past the navigation, and who is writing in a field writes on while the page changes."""
    page = owner.go("/owner/ledger")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "content"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.name") == "run"
    page.keyboard.type("12")
    federation.pods["east"].run("fl-app", "pod", "pause", "east")
    expect(page.locator("#ledger tbody tr").first).to_contain_text("pause", timeout=SLOW)
    page.keyboard.type("3")
    assert page.evaluate("[document.activeElement.name, document.activeElement.value]") == ["run", "123"]
    federation.pods["east"].run("fl-app", "pod", "resume", "east")


def a_button_pauses_the_pod(owner: Reader) -> None:
    page = owner.go("/owner/")
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name="Resume")).to_be_visible(timeout=SLOW)
    owner.go("/owner/ledger")
    expect(page.locator("#ledger tbody tr").first).to_contain_text("pause")


def other_roles_pages_are_not_there(*readers: Reader) -> None:
    for reader in readers:
        own = reader.paths()[0].split("/")[1]
        for role in {"operator", "modeller", "owner"} - {own}:
            assert reader.page.request.get(f"{reader.origin}/{role}/").status == 404


def pages(reader: Reader) -> list[str]:
    """Return the pages of the navigation, and those that its tables lead to."""
    found = reader.paths()
    for path in list(found):
        reader.go(path)
        links = reader.page.eval_on_selector_all("main table a", "all => all.map((one) => one.getAttribute('href'))")
        found += links[:1]
    return list(dict.fromkeys(str(path) for path in found))
