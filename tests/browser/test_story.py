"""The demo's story, walked by two people in Chromium: denied, mended, asked, approved, green, proved, spoiled."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import pytest
from playwright.sync_api import expect

LIMIT_MS = 60_000

pytestmark = pytest.mark.timeout(900)  # a browser, a server and two people, on a machine that may be busy


def ask(who: Any, *, public: bool) -> str:
    """Ask for a bucket by the form of the catalog; the path of the run."""
    page = who.go("/catalog")
    page.get_by_role("link", name="storage-bucket").click()
    page.get_by_label("Environment", exact=True).select_option("dev")
    page.locator('[name="in.name"]').fill("ledger-archive")
    page.locator('[name="in.public"]').select_option("true" if public else "false")
    page.locator('[name="reason"]').fill("a place for the ledger's archive")
    page.get_by_role("button", name="Ask for it").click()
    page.wait_for_url("**/runs/run_*")
    return str(who.path())


def see(who: Any, words: str) -> None:
    """Wait until the page says it: by itself with a script, by loading it again without one."""
    if who.script:
        expect(who.page.locator("#main")).to_contain_text(words, timeout=LIMIT_MS)
        return
    for _ in range(600):
        if words in (who.page.locator("#main").text_content() or ""):
            return
        who.page.reload()
        who.page.wait_for_timeout(100)
    raise AssertionError(f"{who.page.url} never said {words}")


def walk(demo: Any, visit: Any, *, scheme: str = "light", script: bool = True, axe: bool = True) -> None:
    """The whole story; axe looks at each page on which it stops, or only at the last one of a run."""
    found: list[str] = []

    def look(who: Any, *, last: bool = False) -> None:
        found.extend(who.axe() if axe or last else [])

    ada = visit(demo.url, demo.link("ada"), scheme=scheme, script=script)
    grace = visit(demo.url, demo.link("grace"), scheme=scheme, script=script)
    ada.script = grace.script = script
    ask(ada, public=True)
    see(ada, "storage.rego:4")
    see(ada, "ask again with public=false")
    look(ada)

    run = ask(ada, public=False)
    see(ada, "1 of platform is asked")
    see(ada, "you asked for this change")
    ada.go(f"{run}/steps/bucket/decide")
    see(ada, "you asked for this change")
    expect(ada.page.get_by_role("button", name="Approve")).to_have_count(0)
    look(ada)
    ada.go(run)

    grace.go("/approvals")
    look(grace)
    grace.page.locator(f'a[href="{run}/steps/bucket/decide"]').click()
    see(grace, "infrastructure changes")
    look(grace)
    grace.page.get_by_label("Reason", exact=True).fill("private, encrypted, named as agreed")
    grace.page.get_by_role("button", name="Approve").click()
    if grace.page.url.endswith("/decide"):  # asked once more, where there is a script
        grace.page.get_by_role("button", name="Approve").last.click()
    grace.page.wait_for_url(f"**{run}")

    # Nobody touches ada's page: it turns green by itself where there is a script.
    see(ada, "Download the evidence")
    see(ada, "private, encrypted, named as agreed")
    assert ada.page.locator(".badge.s-succeeded").count() >= 4
    look(ada, last=True)
    ada.page.set_viewport_size({"width": 360, "height": 900})
    assert ada.fits()

    grace.go("/audit")
    look(grace)
    grace.page.get_by_role("button", name="Verify everything now").click()
    see(grace, "all of them as they were signed")
    spoiled = subprocess.run([sys.executable, "-m", *demo.tamper.split()], capture_output=True, text=True, check=True)
    leaf = int(spoiled.stdout.split()[4])
    grace.go("/audit")
    grace.page.get_by_role("button", name="Verify everything now").click()
    see(grace, "tampered")
    see(grace, f"leaf {leaf}")
    assert not found, "\n".join(found)


def test_two_people_walk_the_story(own_demo, visit, record_property):
    """By light and with a script: each step is there, nothing is in the console, and a telephone holds the run."""
    begun = time.monotonic()
    walk(own_demo, visit, axe=False)
    record_property("says", f"the story in a browser took {time.monotonic() - begun:.1f} s")


@pytest.mark.slow
@pytest.mark.parametrize("script", [True, False], ids=["script", "plain"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_story_in_every_way(own_demo, visit, scheme, script):
    """In the dark and without a script it is the same story, and axe has nothing against any page of it."""
    walk(own_demo, visit, scheme=scheme, script=script)
