"""Chromium as visitors use it, on servers of their own process; whatever it complains about fails the test."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Dialog, Page, Response, sync_playwright

from mandamus.bootstrap.house import open_house
from mandamus.settings import Settings

ROOT = Path(__file__).parents[2]
AXE = ROOT / ".venv" / "npm" / "browser" / "node_modules" / "axe-core" / "axe.min.js"
ARGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
LIMIT_MS = 60_000
"""How long a condition is waited for: much longer than it ever takes, for a machine that is busy."""
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
REPORT = """
addEventListener("securitypolicyviolation", (event) => {
  console.error(`CSP: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`);
});
"""


def _missing(what: str) -> None:
    """Not every machine can have a browser: the set-up has warned of it, and each test says what to do."""
    pytest.skip(f"{what}; install it and run `make setup` again")


@dataclass
class Demo:
    """A demo that is being served: its runs, and a way in for its people."""

    url: str
    folder: str
    home: str
    denied: str
    run: str
    links: dict[str, str]
    tamper: str

    def link(self, user: str) -> str:
        """A link that nobody has used yet."""
        if user in self.links:
            return self.links.pop(user)
        house = open_house(Settings(), dict(os.environ), Path(self.home), None)
        try:
            return f"{self.url}/sign-in?link={house.sessions.link(house.who, user)}"
        finally:
            house.close()


@contextmanager
def served_demo(folder: Path) -> Iterator[Demo]:
    """`mandamus demo --serve` in a process of its own, on a port that it binds itself."""
    words = [sys.executable, "-m", "mandamus", "demo", "--serve", "--port", "0", "--folder", str(folder)]
    said = folder.with_suffix(".log")
    with (
        said.open("w") as talk,
        subprocess.Popen([*words, "--output", "json"], stdout=subprocess.PIPE, stderr=talk, text=True) as process,
    ):
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, said.read_text()
        yield Demo(**json.loads(line))
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 0, said.read_text()
    assert "Traceback" not in said.read_text()


@dataclass
class Visitor:
    """Somebody's browser; ``trouble`` is all it complained about."""

    url: str
    context: BrowserContext
    page: Page
    twin: Callable[[BrowserContext], BrowserContext]
    trouble: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.context.add_init_script(REPORT)
        self.context.set_default_timeout(LIMIT_MS)
        self.watch(self.page)

    def watch(self, page: Page) -> None:
        """Hear what a page complains about."""
        page.on("console", self._heard)
        page.on("pageerror", lambda error: self.trouble.append(f"{page.url}: {error}"))
        page.on("dialog", self._shown)
        page.on("response", self._answered)

    def go(self, path: str) -> Page:
        """Open a page of the console; gives the page."""
        self.page.goto(f"{self.url}{path}", wait_until="load")
        return self.page

    def enter(self, link: str) -> None:
        """Sign in by a link, as its page does."""
        self.page.goto(link)
        self.page.get_by_role("button", name="Sign in").click()
        self.page.wait_for_url(f"{self.url}/")

    def path(self) -> str:
        """Where the visitor is."""
        parts = urlsplit(self.page.url)
        return parts.path + (f"?{parts.query}" if parts.query else "")

    def fits(self) -> bool:
        """Whether the page is no wider than its window."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"))

    def axe(self, path: str | None = None) -> list[str]:
        """What axe has against a page, asked in a twin of this browser, for axe is a script of somebody else's."""
        if not AXE.is_file():
            _missing(f"axe-core is not in {AXE.parents[2]}")
        context = self.twin(self.context)
        try:
            page = context.new_page()
            page.goto(f"{self.url}{self.path() if path is None else path}", wait_until="load")
            page.evaluate(AXE.read_text())
            found = page.evaluate("(rules) => axe.run(document, {runOnly: rules})", RULES)
            # A rule that ran on nothing at all would find nothing at all.
            assert found["passes"], path
            return [
                f"{page.url}: {each['id']}: {each['help']}: {node['html'][:200]} ({node['failureSummary'][:200]})"
                for each in found["violations"]
                for node in each["nodes"]
            ]
        finally:
            context.close()

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.trouble.append(f"{message.location.get('url')}: {message.type}: {message.text}")

    def _shown(self, dialog: Dialog) -> None:
        self.trouble.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _answered(self, response: Response) -> None:
        if response.status >= 500:
            self.trouble.append(f"{response.url}: {response.status}")


Visit = Callable[..., Visitor]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """Debian's own Chromium; ended with the file that used it, for its loop would be in the way of other tests'."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        _missing("the browser tests need Chromium on PATH (Debian: apt-get install chromium fonts-dejavu-core)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=ARGS, timeout=LIMIT_MS)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Visit]:
    """Makes browsers of people, each by a link; at the end none may have complained."""
    made: list[Visitor] = []

    def make(
        url: str, link: str | None, *, scheme: str = "light", script: bool = True, width: int = 1280, **options: Any
    ) -> Visitor:
        shape = {"viewport": {"width": width, "height": 900}, "color_scheme": scheme, "reduced_motion": "reduce"}

        def twin(of: BrowserContext) -> BrowserContext:
            context = chromium.new_context(**shape, storage_state=of.storage_state(), bypass_csp=True)
            context.set_default_timeout(LIMIT_MS)
            return context

        context = chromium.new_context(**shape, java_script_enabled=script, **options)
        visitor = Visitor(url, context, context.new_page(), twin)
        made.append(visitor)
        if link is not None:
            visitor.enter(link)
        return visitor

    yield make
    trouble = [each for visitor in made for each in visitor.trouble]
    for each in made:
        each.context.close()
    assert not trouble, "\n".join(trouble)


@pytest.fixture
def own_demo(tmp_path: Path) -> Iterator[Demo]:
    """A demo of the test's own, to be played to its end and spoiled."""
    with served_demo(tmp_path / "demo") as demo:
        yield demo


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """A demo that the tests of one file share, none of which says yes or no to anything."""
    with served_demo(tmp_path_factory.mktemp("browser") / "demo") as found:
        yield found
