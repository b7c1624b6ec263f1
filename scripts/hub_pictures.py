"""Take the pictures of the hub's page: three pods over TLS on this machine, and the hubs of three parties.

Run it in the repository, with Chromium installed: ``python scripts/hub_pictures.py``.
"""

import io
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from PIL import Image
from playwright.sync_api import Browser, Page, expect

from tests.browser.federation import PODS, Federation
from tests.browser.looking import Reader, browser
from tests.processes.parties import wait_for

PLACE = Path(__file__).parents[1] / "docs" / "pictures" / "hub"
SIZES = {390: 844, 1280: 800, 1920: 1080}
SLOW = 120_000


def picture(page: Page, name: str) -> None:
    """Save the page as it is at three widths, light and dark."""
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        for width, height in SIZES.items():
            page.set_viewport_size({"width": width, "height": height})
            page.evaluate("window.scrollTo(0, 0)")
            taken = Image.open(io.BytesIO(page.screenshot()))
            # A page has few colours: a palette holds them, the rarest too, in a third of the bytes.
            taken.convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(
                PLACE / f"{name}-{width}-{scheme}.png", optimize=True
            )
    page.set_viewport_size({"width": 1280, "height": 800})
    page.emulate_media(color_scheme="light")


def main() -> None:
    """Serve, train, and look."""
    PLACE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="hub-pictures-") as directory, browser() as chromium:
        made = Federation(Path(directory, "f"))
        try:
            made.begin()
            for name in PODS:
                made.join(name)
            for name in PODS:
                wait_for(name, 120, lambda name=name: "is online" in made.pods[name].log())
            _look(made, chromium)
        finally:
            made.stop()


def _look(made: Federation, chromium: Browser) -> None:
    modeller = Reader(chromium, made.hub(made.modeller, "hub", "--federation", "federation.toml", "--runs", "runs"))
    page = modeller.go("/modeller/")
    page.once("dialog", lambda dialog: dialog.accept())
    page.click("#ask")
    expect(page.locator("#schema-table")).to_contain_text("outcome", timeout=SLOW)
    picture(modeller.go("/modeller/?target=outcome"), "federation")
    run = made.fit("--rounds", "12")
    modeller.go("/modeller/runs")
    page.locator("#runs tbody tr a").first.click(timeout=SLOW)
    expect(page.locator("#round-table tbody tr")).not_to_have_count(0, timeout=SLOW)
    expect(page.locator("#round-table tbody tr")).to_have_count(6, timeout=SLOW)
    picture(page, "run")
    run.wait(300)
    picture(modeller.go("/modeller/runs"), "runs")
    owner = Reader(chromium, made.hub(made.pods["east"], "pod", "hub", "east"))
    picture(owner.go("/owner/"), "owner")
    picture(owner.go("/owner/ledger"), "ledger")
    operator = Reader(chromium, made.hub(made.operator, "hub", "--superlink", "superlink"))
    picture(operator.go("/operator/"), "operator")


if __name__ == "__main__":
    main()
