"""Signing in by the provider in a real browser: what its cookies and policies let through, with scripts and without."""

import re
import shutil

import pytest
from playwright.sync_api import Page, sync_playwright

ARGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
LONG_MS = 60_000
OURS = "127.0.0.1"


@pytest.fixture(scope="module")
def chromium(site):
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("this needs Chromium on PATH; install it and run `make setup` again")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=ARGS, timeout=LONG_MS)
        yield browser
        browser.close()


def visit(chromium, **options) -> tuple[Page, list[str]]:
    """A page of a new visitor, and what its console says that is wrong."""
    page = chromium.new_context(**options).new_page()
    page.set_default_timeout(LONG_MS)
    wrong: list[str] = []
    # What the provider's own pages lack is no trouble of ours.
    page.on(
        "console",
        lambda said: wrong.append(said.text) if said.type == "error" and OURS in said.location["url"] else None,
    )
    page.on("pageerror", lambda error: wrong.append(str(error)))
    return page, wrong


def test_signing_in_without_scripts_and_out(chromium, site):
    """From a page that needs a session, to the provider on another site, and back to it, without JavaScript.

    The session's cookie is `Strict`, so it would not come along with what the provider leads to.
    """
    page, wrong = visit(chromium, java_script_enabled=False)
    page.goto(f"{site.url}/environments")
    page.get_by_role("link", name="Sign in with the provider of the tests").click()
    page.get_by_label("Name").fill("grace")
    page.get_by_role("button", name="Go in").click()
    page.wait_for_url(f"{site.url}/environments")
    cookies = {each["name"]: each for each in page.context.cookies(site.url)}
    assert cookies["mandamus"]["sameSite"] == "Strict"
    assert cookies["mandamus"]["httpOnly"]
    assert "mandamus-flow" not in cookies
    page.locator("details.me > summary").click()
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url(re.compile(re.escape(site.issuer)))
    assert "mandamus" not in {each["name"] for each in page.context.cookies(site.url)}
    assert wrong == []


@pytest.mark.slow
def test_stepping_up_and_letting_a_device_in(chromium, site):
    """With scripts: an approval that asks for more leads to the provider and back, and then can be given."""
    run = site.waiting_run("guarded")
    page, wrong = visit(chromium)
    page.goto(f"{site.url}/sign-in")
    page.get_by_role("link", name="Sign in with the provider of the tests").click()
    page.get_by_label("Name").fill("ada")
    page.get_by_role("button", name="Go in").click()
    page.wait_for_url(f"{site.url}/")
    page.goto(f"{site.url}/runs/{run}/steps/change/decide")
    page.get_by_role("link", name="Sign in again").click()
    page.get_by_label("Name").fill("ada")
    page.get_by_role("button", name="Go in").click()
    page.wait_for_url(f"{site.url}/runs/{run}/steps/change/decide")
    page.get_by_role("button", name="Approve").wait_for()
    page.goto(f"{site.url}/device")
    page.get_by_label("Code").fill("BCDF-GHJK")
    page.get_by_role("button", name="Look at it").click()
    page.get_by_text("no device waits with this code").wait_for()
    assert [each for each in wrong if "404" not in each] == []
    site.house.runs.cancel(site.house.who, run)
