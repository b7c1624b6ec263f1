"""A browser that looks at a hub, and what is looked for on every page."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, sync_playwright

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), ""
)
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
PHONE, DESK = (390, 844), (1280, 800)


@contextmanager
def browser() -> Iterator[Browser]:
    """Start Chromium, without a window."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            yield started
        finally:
            started.close()


class Reader:
    """Somebody who has logged in to a hub, in a browser of his own; notes what a page does that it should not."""

    def __init__(self, browser: Browser, link: str) -> None:
        parts = urlsplit(link)
        self.origin, self.wrong = f"{parts.scheme}://{parts.netloc}", list[str]()
        width, height = DESK
        context = browser.new_context(viewport={"width": width, "height": height}, reduced_motion="reduce")
        self.page: Page = context.new_page()
        self.page.set_default_timeout(60_000)
        self.page.on("console", self._told)
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("request", self._asked)
        self.page.goto(link)
        self.page.wait_for_selector("header nav")

    def _told(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.wrong.append(f"{self.page.url}: {message.text}")

    def _asked(self, request: Request) -> None:
        if not request.url.startswith((self.origin + "/", "data:")):
            self.wrong.append(f"{self.page.url} asks for {request.url}")

    def go(self, path: str) -> Page:
        """Open a page of the hub."""
        self.page.goto(self.origin + path)
        return self.page

    def paths(self) -> list[str]:
        """Return the pages that the navigation names."""
        found = self.page.eval_on_selector_all("header nav a", "all => all.map((one) => one.getAttribute('href'))")
        return [str(path) for path in found]

    def stays(self) -> None:
        """Mark the page, so that `stayed` can tell whether it was loaded again."""
        self.page.evaluate("window.marked = true")

    def stayed(self) -> bool:
        return bool(self.page.evaluate("window.marked === true"))

    def faults(self, path: str) -> list[str]:
        """Return what is wrong with a page: for whoever cannot see it, on a phone, light and dark."""
        page, found = self.go(path), []
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            for violation in Axe().run(page).response["violations"]:
                if violation["impact"] in ("serious", "critical"):
                    nodes = [node["html"][:160] for node in violation["nodes"]][:3]
                    found.append(f"{path} {scheme}: {violation['id']}: {violation['help']}: {nodes}")
        page.emulate_media(color_scheme="light")
        page.set_viewport_size({"width": PHONE[0], "height": PHONE[1]})
        wide = page.evaluate("document.documentElement.scrollWidth")
        if wide > PHONE[0]:
            found.append(f"{path}: {wide} px wide on a screen of {PHONE[0]}")
        page.set_viewport_size({"width": DESK[0], "height": DESK[1]})
        return found
