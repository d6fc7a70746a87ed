"""Settle: what is known of an effect whose end nobody knows, and the word that is taken on it."""

from __future__ import annotations

import re

import pytest

from mandamus.executors.model import Probed, Verdict


@pytest.fixture
def lost(place, monkeypatch) -> str:
    """A run whose step was promised and began, and of which no probe knows the end; its id."""
    tool = type(place.house.rooms.executors.get("script"))

    def crash(_self, _task, _blob):
        raise RuntimeError("a fault of the executor")

    monkeypatch.setattr(tool, "apply", crash)
    monkeypatch.setattr(tool, "probe", lambda _self, _task, _blob: Probed(Verdict.UNKNOWN, "it <b>may</b> have"))
    run = place.run()
    monkeypatch.undo()
    return run


def path_of(run: str) -> str:
    return f"/runs/{run}/steps/look/settle"


def test_what_is_known_is_shown(visit, lost):
    """The promise with what it was bound to, that it was given up, and what the tool found, as text."""
    page = visit("owner").get(path_of(lost)).text
    assert "it &lt;b&gt;may&lt;/b&gt; have" in page
    assert re.search(r"promised</th><td><time [^>]*>[^<]*</time>, attempt 1", page)
    assert len(re.findall(r"sha256:[0-9a-f]{64}", page)) >= 2
    assert "given up" in page
    assert page.count('type="radio"') == 3
    assert path_of(lost) in visit("owner").get(f"/runs/{lost}/steps/look").text


def test_only_whoever_may_settle_sees_the_page(visit, lost):
    """A member asks the owner; there the page says by which permission."""
    ada = visit("ada")
    answer = ada.get(path_of(lost))
    assert answer.status_code == 403
    assert "run:settle" in answer.text
    data = {"outcome": "failed", "reason": "x", "looked": "1", "attempt": "1"}
    assert ada.post(path_of(lost), data=data).status_code == 403


@pytest.mark.parametrize("lacks", ["outcome", "reason", "looked"])
def test_nothing_is_settled_without_a_reason_and_a_look(visit, place, lost, lacks):
    """422, with what was typed, and the step as it was."""
    data = {"outcome": "failed", "reason": "the hook has no message", "looked": "1", "attempt": "1", lacks: ""}
    if lacks == "looked":
        del data[lacks]
    answer = visit("owner").post(path_of(lost), data=data)
    assert answer.status_code == 422
    assert 'class="wrong"' in answer.text
    assert lacks == "reason" or "the hook has no message</textarea>" in answer.text
    assert place.house.runs.show(place.house.who, lost).steps[0].state == "indeterminate"


def test_a_word_settles_it_once(visit, place, lost):
    """It stands in the log with its reason; there is nothing to settle from then on, for another form neither."""
    owner = visit("owner")
    data = {"outcome": "failed", "reason": "the hook has no message", "looked": "1", "attempt": "1"}
    answer = owner.post(path_of(lost), data=data)
    assert (answer.status_code, answer.headers["location"]) == (303, f"/runs/{lost}")
    assert place.house.runs.show(place.house.who, lost).steps[0].state == "failed"
    told = [leaf for leaf in place.house.runs.events(place.house.who, lost, -1) if leaf["kind"] == "effect.settled"]
    assert [(each["data"]["as"], each["why"]) for each in told] == [("failed", "the hook has no message")]
    assert "there is nothing to settle" in owner.get(path_of(lost)).text
    assert owner.post(path_of(lost), data=data).status_code == 409
    assert owner.post(path_of(lost), data={**data, "attempt": "2"}).status_code == 422
