"""One verb for many runs: what would happen to each is said before, what happened after; each by its own right."""

from __future__ import annotations

import re
from urllib.parse import urlencode

import pytest

from mandamus.kernel.access import MEMBER, Permission


def said(text: str, run: str) -> str:
    """What a page says of one run."""
    return re.search(rf"<li class=\"row(?:(?!</li>).)*{run}.*?</li>", text, re.DOTALL)[0]


def ask(client, verb: str, *runs: str):
    """The page that asks, as the list's form opens it."""
    return client.get(f"/runs/bulk?{urlencode({'verb': verb, **dict.fromkeys(runs, 'on')})}")


def test_the_list_has_marks(visit, runs):
    """Each run can be marked by its id, without a script."""
    text = visit("ada").get("/runs").text
    assert 'action="/runs/bulk"' in text
    for run in runs.values():
        assert f'type="checkbox" name="{run}"' in text


def test_what_cannot_be_done_is_said_before(place, visit, runs):
    """Of each marked run the page says what would happen, or why not; its form holds only those that can."""
    waiting, gone = place.run(asked=True), "run_" + "0" * 26
    text = ask(visit("ada"), "cancel", waiting, runs["succeeded"], gone).text
    assert "will" in said(text, waiting)
    assert "it is succeeded: nothing to cancel" in said(text, runs["succeeded"])
    assert "there is no run" in said(text, gone)
    assert re.findall(r'type="hidden" name="(run_[^"]+)"', text) == [waiting]
    assert "Cancel 1 run?" in text
    again = ask(visit("ada"), "retry", waiting, runs["denied"]).text
    assert "it is waiting: nothing to try again" in said(again, waiting)
    assert "planned and judged anew" in said(again, runs["denied"])
    assert place.house.runs.glance(place.house.who, waiting).cancel_requested is False


def test_each_run_is_decided_by_itself(place, visit, runs):
    """Those that can are done with the reason, the others are told, and what was done stays done."""
    one, other = place.run(asked=True), place.run(asked=True)
    data = {"verb": "cancel", "reason": "wrong day", one: "on", runs["succeeded"]: "on", other: "on"}
    text = visit("ada").post("/runs/bulk", data=data).text
    assert "Cancelled: 2 of 3" in text
    assert "nothing to cancel" in said(text, runs["succeeded"])
    for run in (one, other):
        assert "told to stop" in said(text, run)
        place.house.drive(run, lambda _notice: None)
        assert place.house.runs.glance(place.house.who, run).state.value == "cancelled"
    events = visit("owner").get("/audit", params={"run": one}).text
    assert "wrong day" in events
    text = visit("ada").post("/runs/bulk", data={"verb": "retry", one: "on"}).text
    assert "goes on" in said(text, one)


def test_a_run_that_one_may_not_touch_is_refused_on_record(place, visit, monkeypatch):
    """The page is no way around a permission: each refusal is told and recorded as anywhere."""
    run, client, whole = place.run(asked=True), visit("ada"), place.house.identity.active

    def less(_self, name):
        found = whole(name)
        return found and type(found)(**{**vars(found), "permissions": MEMBER - {Permission.RUN_CANCEL}})

    with monkeypatch.context() as patch:
        patch.setattr(type(place.house.identity), "active", less)
        assert "you may not cancel it" in ask(client, "cancel", run).text
        assert "Cancel</button>" not in client.get("/runs").text
        text = client.post("/runs/bulk", data={"verb": "cancel", run: "on"}).text
    assert "may not run:cancel" in said(text, run)
    assert place.house.runs.glance(place.house.who, run).cancel_requested is False
    denied = visit("owner").get("/audit", params={"kind": "access.denied", "actor": "ada"}).text
    assert "run:cancel" in denied


@pytest.mark.parametrize(
    "query",
    ["", "verb=cancel", "verb=delete&run_" + "0" * 26 + "=on", "verb=cancel&run_x=on"],
)
def test_a_form_that_is_not_whole_is_refused(visit, query):
    """No verb, no mark, a mark that is no run: nothing is asked and nothing done."""
    assert visit("ada").get(f"/runs/bulk?{query}").status_code in {400, 422}
    many = {f"run_{each:026}": "on" for each in range(51)}
    assert visit("ada").post("/runs/bulk", data={"verb": "cancel", **many}).status_code == 422
