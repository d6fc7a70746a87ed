"""The page of one run: small however large the run and its plan, with groups, filters and a timeline."""

from __future__ import annotations

import re
from html import unescape

import pytest

from mandamus.audit.kinds import Kind
from mandamus.kernel.changeset import Action, Change, ChangeSet, Confidence
from mandamus.kernel.ids import RunId
from mandamus.runs import store
from mandamus.runs.lifecycle import StepState
from mandamus.web.changes import Room, shown
from mandamus.web.timeline import duration

BYTES_MAX = 150 * 1024


def first_load(client, path: str) -> int:
    """The bytes of a page with its style and scripts."""
    page = client.get(path)
    assert page.status_code == 200
    files = [client.get(each) for each in set(re.findall(r'(?:src|href)="(/static/[^"]+)"', page.text))]
    return sum(len(each.content) for each in (page, *files))


def rows(text: str) -> list[str]:
    """The steps that a page lists."""
    return re.findall(r'class="whole" href="/runs/[^"/]+/steps/([^"]+)"', text)


def nodes(text: str) -> list[str]:
    """What the picture links to."""
    return [unescape(each) for each in re.findall(r'<a href="([^"]*)">(?:<title>[^<]*</title>)?<g class="node', text)]


def grow(place, names: list[str], width: int) -> str:
    """A run that is over, with so many more steps; each needs those one place back in rows of a width."""
    run = place.run()
    made = [
        {"name": name, "needs": [names[at - width]] if at >= width else [], "tries": 1, "changed_us": 0}
        for at, name in enumerate(names)
    ]
    with place.house.rooms.db.begin("test") as tx:
        store.insert_steps(tx.conn, RunId(run), made)
        for name, state in ((names[3], StepState.FAILED), (names[4], StepState.APPLYING)):
            store.update_step(tx.conn, RunId(run), name, 0, state=state.value)
    return f"/runs/{run}"


@pytest.fixture(scope="module")
def wide(place) -> str:
    """The page of a run of 200 steps: build, check and deploy."""
    return grow(place, [f"{verb}-{each}" for each in range(66) for verb in ("build", "check", "deploy")], 3)


@pytest.fixture(scope="module")
def huge(place) -> str:
    """The page of a run of 2,000 steps, all of one name, with long ones among them."""
    return grow(place, [f"step-{each}-of-a-name-that-is-rather-long-for-a-picture" for each in range(1_998)], 20)


def test_a_run_of_many_steps_is_a_small_page(visit, wide, huge):
    """200 and 2,000 steps: at most 150 KB with all it loads, at first, in every grouping, and with a whole picture."""
    client = visit("grace")
    for path in (wide, huge, f"{wide}?by=level", f"{huge}?by=prefix", f"{huge}?by=state", f"{huge}?name=step-1&page=2"):
        assert first_load(client, path) <= BYTES_MAX, path
    most = f"{huge}?name=step-19"  # 109 of them
    assert len(nodes(client.get(most).text)) > 100
    assert first_load(client, most) <= BYTES_MAX


def test_many_steps_are_drawn_as_groups(visit, wide):
    """Each group says how many of it are in which state, and leads to its steps; the list goes on by pages."""
    client = visit("grace")
    text = client.get(wide).text
    assert {link.rpartition("=")[2] for link in nodes(text)} == {"look", "change", "build", "check", "deploy"}
    assert "build: 65 pending, 1 failed" in text
    assert "check: 65 pending, 1 applying" in text
    assert 'class="node s-failed"' in text
    assert len(rows(text)) == 40
    link = next(each for each in nodes(text) if each.endswith("=build"))
    inside = client.get(wide + link).text
    assert len(nodes(inside)) == 66
    assert set(rows(inside)) <= {f"build-{each}" for each in range(66)}
    following = unescape(re.search(r'rel="next" href="([^"]*)"', inside)[1]).partition("#")[0]
    assert [*rows(inside), *rows(client.get(wide + following).text)] == [f"build-{each}" for each in range(66)]


def test_one_name_is_grouped_by_level(visit, huge):
    """Where prefixes say nothing, levels do: at most 40 groups, each waits for the one before."""
    text = visit("grace").get(huge).text
    links = nodes(text)
    assert 1 < len(links) <= 40
    assert all("by=level" in link for link in links)
    assert text.count('class="edge"') >= len(links) - 2


def test_a_filter_stands_in_the_address(visit, wide):
    """Part of a name and a state; the form shows them; what there is not is told, and what nobody knows is refused."""
    client = visit("grace")
    assert rows(client.get(wide, params={"state": "failed"}).text) == ["build-1"]
    text = client.get(wide, params={"name": "DEPLOY-1", "by": "state"}).text
    assert rows(text) == [f"deploy-{each}" for each in (1, *range(10, 20))]
    assert 'name="name" value="DEPLOY-1"' in text
    assert "No step fits this filter" in client.get(wide, params={"name": "none"}).text
    assert client.get(wide, params={"state": "none"}).status_code == 422
    assert client.get(wide, params={"by": "none"}).status_code == 422
    assert len(rows(client.get(wide, params={"page": 99}).text)) == 40


def test_groups_that_wait_for_each_other_make_no_circle(visit, place):
    """A picture goes from left to right: of two groups each with a step that needs the other, one stands first."""
    names = [f"{'a' if each % 2 else 'b'}-{each}" for each in range(200)]
    text = visit("grace").get(f"{grow(place, names, 1)}?by=prefix").text
    assert len(nodes(text)) == 4
    assert text.count('class="edge"') == 2  # from look to change, and one of the two


def test_the_timeline_says_when_what_was_done(place, visit, runs):
    """Planned, judged, waiting, applied: a row of bars for each step, which is one link; exactly on the step's page."""
    client = visit("grace")
    text = client.get(f"/runs/{runs['waiting']}").text
    line = re.search(r'<li class="row"><a class="whole" href="#step-change">.*?</li>', text)[0]
    assert re.search(r'<rect class="t-waiting" x="\d+" width="\d+"', line)
    assert "queued" in line
    step = client.get(f"/runs/{runs['succeeded']}/steps/change").text
    assert re.findall(r'<td><span class="t-(\w+)">', step) == ["queued", "planning", "judging", "applying"]
    found = place.house.runs.events(place.house.who, RunId(runs["succeeded"]), -1, steps=["look"])
    assert {leaf["step"] for leaf in found} == {"look"}
    assert Kind.STEP_FINISHED.text in {leaf["kind"] for leaf in found}


@pytest.mark.parametrize(
    ("took_us", "words"),
    [(0, "0 ms"), (999_999, "999 ms"), (1_500_000, "1.5 s"), (61_000_000, "1 min 1 s"), (7_260_000_000, "2 h 1 min"),
     (180_000_000_000, "2 d 2 h")],
)  # fmt: skip
def test_a_stretch_of_time_is_told_in_words(took_us, words):
    """As people say it."""
    assert duration(took_us) == words


def test_a_large_plan_is_shown_as_far_as_there_is_room():
    """What is left out is counted, and nothing is shown in part."""
    after = {f"attribute_{each}": "value" * 20 for each in range(20)}
    some = tuple(Change(f"bucket.b{each}", "bucket", f"b{each}", Action.CREATE, after=after) for each in range(90))
    data = ChangeSet(tool={"name": "terraform"}, fidelity=Confidence.EXACT, changes=some).to_json()
    whole, part = shown(data), shown(data, 24 * 1024)
    assert len(whole.groups[0].items) == 90
    assert 1 <= len(part.groups[0].items) < 10
    assert len(part.groups[0].items) + part.groups[0].more == 90
    assert Room(None).take(whole.groups[0].items[0])
    assert not Room(10).take(whole.groups[0].items[0])
