"""Long outputs and large runs in Chromium: the end first, older lines while somebody scrolls, and nothing for axe."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from mandamus.bootstrap.house import House, open_house
from mandamus.kernel.ids import RunId
from mandamus.runs import store
from mandamus.settings import Settings

pytestmark = pytest.mark.slow

COUNT = 9_000


@pytest.fixture(scope="module")
def house(demo) -> Iterator[House]:
    """The home of the served demo, opened beside its server."""
    with closing(open_house(Settings(), dict(os.environ), Path(demo.home), None)) as opened:
        yield opened


@pytest.fixture(scope="module")
def log(demo, house) -> str:
    """Where an output of many lines stands."""
    (step, *_) = house.runs.show(house.who, RunId(demo.run)).steps
    lines = "".join(f"\x1b[32mline\x1b[0m {number}\n" for number in range(1, COUNT + 1))
    house.rooms.outputs.append(demo.run, step.name, 7, "apply", lines.encode())
    return f"/runs/{demo.run}/steps/{step.name}/log?phase=apply&attempt=7"


def test_an_output_opens_at_its_end_and_goes_back(demo, log, visit):
    """The last line is in sight at once; scrolled up, older windows come by themselves, in order, and none twice."""
    someone = visit(demo.url, demo.link("ada"))
    page = someone.go(log)
    last = page.locator(f"#L{COUNT}")
    last.wait_for()
    inside = "line => line.getBoundingClientRect().bottom <= line.closest('.lines').getBoundingClientRect().bottom"
    assert last.evaluate(inside)
    assert page.locator(".line").count() == 2_000
    for first in (COUNT - 3_999, COUNT - 5_999):
        page.locator(".lines").evaluate("box => { box.scrollTop = -box.scrollHeight; }")
        page.locator(f"#L{first}").wait_for(state="attached")
    ids = page.eval_on_selector_all(".log .line", "lines => lines.map(line => Number(line.id.slice(1)))")
    assert ids == list(range(COUNT - len(ids) + 1, COUNT + 1))


def test_a_range_is_shown_without_a_script(demo, log, visit):
    """Its form and its address need none; what is marked has a colour of its own."""
    someone = visit(demo.url, demo.link("ada"), script=False)
    page = someone.go(log)
    page.get_by_label("From line").fill("100")
    page.get_by_label("To", exact=True).fill("102")
    page.get_by_role("button", name="Show").click()
    page.wait_for_url("**from=100&to=102")
    marked = page.locator(".line.marked").evaluate_all("lines => lines.map(line => line.id)")
    assert marked == ["L100", "L101", "L102"]
    page.get_by_label("Find text").fill("LINE 8999")
    page.get_by_role("button", name="Find").click()
    page.get_by_role("link", name="Line 8999 in its place").click()
    page.wait_for_url("**from=8999#L8999")


@pytest.fixture(scope="module")
def short(demo, house, log) -> str:
    """Where an output of few lines stands: axe looks at each of them."""
    path = log.replace("attempt=7", "attempt=8")
    step = path.split("/")[4]
    house.rooms.outputs.append(demo.run, step, 8, "apply", b"\x1b[31mline\x1b[0m of many\n" * 50)
    return path


@pytest.mark.timeout(900)  # eleven pages, each looked at twice, on a machine that may be busy
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
def test_axe_finds_nothing(demo, house, short, visit, scheme, width):
    """On outputs, large runs, sets, explanations, back-tests, exemptions and environments."""
    someone = visit(demo.url, demo.link("ada"), scheme=scheme, width=width)
    run = RunId(demo.run)
    names = [f"deploy-{number}" if number % 2 else f"check-{number}" for number in range(200)]
    if len(house.runs.show(house.who, run).steps) < 200:
        rows = [{"name": name, "needs": names[:at][-1:], "tries": 1, "changed_us": 0} for at, name in enumerate(names)]
        with house.rooms.db.begin("test") as tx:
            store.insert_steps(tx.conn, run, rows)
    decision = house.policy.decisions(house.who, RunId(demo.denied))[-1].id
    paths = [
        short, f"{short}&q=line", f"{short}&from=5&to=9", f"/runs/{run}", f"/runs/{run}?by=prefix&group=deploy",
        f"/runs/{demo.denied}", "/policies/sets/storage", f"/policies/decisions/{decision}/explain",
        "/policies/exemptions", "/environments/dev", "/audit",
    ]  # fmt: skip
    for path in paths:
        assert someone.axe(path) == []
        someone.go(path)
        assert someone.fits(), path
