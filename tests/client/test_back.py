"""The house's own values, sent and rebuilt: nothing that somebody decides on is taken on trust or lost."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace

import pytest

from mandamus.client.house import RemoteHouse
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import RunId
from mandamus.runs.lifecycle import RunState
from mandamus.wire import back, catalog, governance, runs

ENGINES = {"steps_left", "wakes", "wakes_seen", "requires", "requester"}
"""Fields of a run that are not sent as they are; what the command line shows of them is looked at by its own tests."""


@pytest.fixture(scope="module")
def asked(as_user):
    """A run that waits for somebody, as it is sent once nothing in it moves."""
    ada = as_user("ada")
    run = RunId(ada.request_run("storage", "workflows/deploy.yaml", "dev", {"asked": True}).id)
    RemoteHouse(ada).drive(run, lambda _: None)
    return ada.get_run(run)


def test_a_run_comes_back_as_it_is_in_the_house(asked, place):
    """Every field of the run, of its steps' plans and bindings, of what is asked and who is barred."""
    with closing(place.open()) as house:
        kept = house.runs.show(house.who, RunId(asked.id))
        environment = house.catalog.show_environment(house.who, "dev")
        decisions = house.policy.decisions(house.who, RunId(asked.id))
        offered = house.catalog.show_workflow(house.who, "storage", "workflows/deploy.yaml")
    sent = back.view(asked)
    assert without(sent.run) == without(kept.run)
    assert [(row.plan, row.binding, row.requires) for row in sent.steps] == [
        (row.plan, row.binding, row.requires) for row in kept.steps
    ]
    assert (sent.asked, sent.barred) == (kept.asked, kept.barred)
    rebuilt = back.offered(catalog.workflow_text(offered))
    assert replace(rebuilt, inputs=()) == replace(offered, inputs=())
    assert [replace(each, at=None) for each in rebuilt.inputs] == [replace(each, at=None) for each in offered.inputs]
    assert back.environment(governance.environment(environment)) == environment
    for made in decisions:
        rebuilt = back.decision(governance.decision(made))
        assert rebuilt.to_json() == made.to_json()


def test_what_was_said_and_not_seen_yet_is_sent_as_due(asked, place):
    """The engine counts both; whoever follows from afar is told whether they are the same."""
    with closing(place.open()) as house:
        kept = house.runs.show(house.who, RunId(asked.id)).run
    assert not runs.run(kept).due
    assert runs.run(replace(kept, wakes=kept.wakes_seen + 1)).due


def without(run):
    return {name: value for name, value in vars(run).items() if name not in ENGINES}


def test_nobody_is_asked_about_what_the_digest_is_not_of(asked):
    """When a server shows another document than the digest it asks a yes for, it is not shown at all."""
    (step,) = asked.steps
    moved = step.model_copy(update={"bound": {**step.bound, "artifact": "sha256:" + "0" * 64}})
    with pytest.raises(MandamusError) as raised:
        back.view(asked.model_copy(update={"steps": [moved]}))
    assert raised.value.code is Code.DIGEST_MISMATCH


def test_a_run_is_at_rest_when_all_that_was_said_to_it_shows(asked):
    """A yes that the engine has not seen yet leaves the run waiting for a moment; that is not the end of it."""
    waits = asked.model_copy(update={"due": False})
    assert back.at_rest(back.run(waits))
    assert not back.at_rest(back.run(waits.model_copy(update={"due": True})))
    closed = {"state": RunState.SUCCEEDED.value, "evidence": None}
    assert not back.at_rest(back.run(waits.model_copy(update=closed)))
    assert back.at_rest(back.run(waits.model_copy(update={**closed, "evidence": asked.source})))
    assert not back.at_rest(back.run(waits.model_copy(update={"state": RunState.RUNNING.value})))


def test_only_news_is_told(asked):
    """Each change of a step's state once."""
    seen: dict[str, str] = {}
    view = back.view(asked)
    assert [each.state for each in back.news(view, seen)] == ["waiting"]
    assert back.news(view, seen) == []


def test_a_later_server_may_say_more():
    """Fields that this version does not know are passed over."""
    assert runs.Required.model_validate({"group": "", "count": 1, "why": "", "override": False, "new": 1}).count == 1
