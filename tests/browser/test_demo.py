"""The hub's whole story on a laptop; the block of docs/hub.md is that of this file, test_demo.py."""

import os
import signal
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.looking import CHROMIUM, Reader, browser
from tests.processes.parties import Party, left_behind, wait_for

pytestmark = [
    pytest.mark.processes,
    pytest.mark.simulation,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not CHROMIUM, reason="no Chromium: apt-get install chromium"),
]
COMMAND = "fl-app demo --hub"
SLOW = 180_000


def test_the_demonstration_in_a_browser(tmp_path: Path) -> None:
    laptop = Party(tmp_path / "laptop")
    try:
        demo = laptop.start(*COMMAND.split(), "--rounds", "3", "--no-browser", "--port", "0")
        wait_for("the hub", 60, lambda: "/login#" in laptop.log())
        link = next(word for word in laptop.log().split() if "/login#" in word)
        with browser() as chromium:
            reader = Reader(chromium, link)
            page = reader.go("/modeller/")
            expect(page.locator("#schema-table")).to_contain_text("TARGET", timeout=SLOW)
            reader.go("/modeller/runs")
            page.locator("#runs tbody tr a").first.click(timeout=SLOW)
            expect(page.locator("h1")).to_contain_text("completed", timeout=SLOW)
            expect(page.locator("#round-table tbody tr").first).to_be_visible()
            with page.expect_popup() as report:
                page.get_by_text("Open the report").click()
            expect(report.value.locator("body")).to_contain_text("TARGET", timeout=SLOW)
            assert reader.wrong == []
        assert demo.poll() is None, "it goes on until Ctrl-C"
        os.killpg(demo.pid, signal.SIGINT)
        assert demo.wait(60) in (0, 130), laptop.log()
    finally:
        laptop.stop()
    wait_for("the end", 20, lambda: not left_behind(tmp_path))
