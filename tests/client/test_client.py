"""The client against a real server: every operation, and one governed change by it alone."""

from __future__ import annotations

import inspect
import itertools
import json
import os
from contextlib import closing
from datetime import UTC, datetime

import pytest

from mandamus.client.client import Client
from mandamus.client.house import RemoteHouse
from mandamus.evidence.verify import verify
from mandamus.kernel.access import Permission
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import Digest, RunId
from mandamus.runs.model import Binding
from mandamus.wire import back, governance

WORKFLOW = "workflows/deploy.yaml"


def ask(client, reason="", **inputs):
    return client.request_run("storage", WORKFLOW, "dev", inputs, reason=reason)


def ended(client, run):
    """Follow a run to its end; gives the state it ended in."""
    *_, last = client.follow_run(run)
    assert last.kind == "end"
    return last.data["state"]


def waiting(client, run):
    """Follow a run until nothing in it moves and somebody is asked; gives it as it then is."""
    assert RemoteHouse(client).drive(RunId(run), lambda _: None).state == "waiting"
    return client.get_run(run)


def test_every_operation_of_the_contract_has_a_method_and_its_parameters(as_user):
    """The name of a method is the operation's id; each parameter of the operation can be given to it.

    What is asked without a token is no business of a client that has one: `client.device` and `client.exchange` ask it.
    """
    missing = []
    own = {"if_none_match", "idempotency_key", "last_event_id", *inspect.signature(Client).parameters}
    for path, methods in as_user("ada").get_openapi()["paths"].items():
        for operation in methods.values():
            method = getattr(Client, operation["operationId"], None)
            if method is None:
                missing.append(operation["operationId"])
                continue
            given = {each["name"] for each in operation.get("parameters", [])}
            lacks = {name.lower().replace("-", "_") for name in given} - own - set(inspect.signature(method).parameters)
            missing += [f"{operation['operationId']}({name}) of {path}" for name in sorted(lacks)]
    assert sorted(missing) == ["ask_for_device", "exchange_token", "revoke_device_token", "take_device_token"]


def test_a_ticket_of_the_client_is_of_all_it_does(as_user, place, server):
    """It stands in the run and in every event of a request; what names no ticket is refused."""
    with Client(server, place.secrets["ada"], entropy=os.urandom, ticket="CHG-17") as client:
        run = ask(client).id
        assert client.get_run(run).ticket == "CHG-17"
    found = as_user("owner").list_events(run=run, kind="run.requested").first().items
    assert found[0].leaf["data"]["ticket"] == "CHG-17"
    with Client(server, place.secrets["ada"], entropy=os.urandom, ticket="the one of May") as client:
        with pytest.raises(MandamusError) as raised:
            client.get_me()
    assert raised.value.code is Code.VALUE_INVALID


def test_a_change_is_asked_decided_and_proved_by_the_client_alone(as_user, tmp_path):
    """Asked, refused for the maker, approved by another who checked what it binds, applied, proved."""
    ada, grace = as_user("ada"), as_user("grace")
    run = ask(ada, asked=True, says="hello").id
    view = waiting(grace, run)
    assert run in {each.id for each in grace.list_inbox()}
    step = view.steps[0]
    assert Binding(**{k: v for k, v in step.bound.items() if k != "format"}).digest == step.binding
    with pytest.raises(MandamusError) as refused:
        ada.approve_run(run, step.binding)
    assert refused.value.code is Code.APPROVAL_REFUSED
    assert refused.value.remedy
    given = grace.approve_run(run, step.binding, reason="as agreed")
    assert (given.by, given.verdict, given.binding) == ("grace", "yes", step.binding)

    assert ended(ada, run) == "succeeded"
    assert ada.get_log(run, "change").data == b"hello\n"
    assert b"".join(piece.data for piece in ada.follow_log(run, "change")) == b"hello\n"
    assert b"".join(piece.data for piece in ada.follow_log(run, "change", offset=2)) == b"llo\n"
    assert ada.get_change_set(run, "change")["changes"]
    (tmp_path / "proof.zip").write_bytes(grace.get_evidence(run))
    assert verify(tmp_path / "proof.zip", grace.get_checkpoint().key).ok


def test_a_no_of_policy_and_a_no_of_a_person_are_told(as_user):
    """The state of the run says it, with rule and reason."""
    ada, grace = as_user("ada"), as_user("grace")
    denied = ask(ada, public=True).id
    assert ended(ada, denied) == "denied"
    assert "nothing may be public" in ada.get_run(denied).error["message"]
    line = ada.list_decisions(run=denied, outcome="deny").first().items[0]
    assert ada.get_decision(line.id).document["outcome"] == "deny"

    run = ask(ada, asked=True).id
    grace.reject_run(run, waiting(grace, run).asked[0].binding, reason="wrong region")
    assert ended(ada, run) == "rejected"
    assert [each.reason for each in ada.get_run(run).approvals] == ["wrong region"]


def test_a_run_is_stopped_and_tried_again(as_user):
    """Cancel and retry, as at the keyboard; what cannot be settled is refused in the server's words."""
    ada, owner = as_user("ada"), as_user("owner")
    run = ask(ada, asked=True).id
    waiting(ada, run)
    ada.cancel_run(run, reason="wrong account")
    assert ended(ada, run) == "cancelled"
    assert ada.retry_run(run).state == "running"
    with pytest.raises(MandamusError) as refused:
        owner.settle_step(run, "change", "succeeded", reason="it is there")
    assert refused.value.code in {Code.CONFLICT, Code.TRANSITION_ILLEGAL}


def test_a_stream_is_taken_up_where_it_was_left(as_user):
    """Behind a place in the run's own chain: nothing twice, nothing left out."""
    ada = as_user("ada")
    run = ask(ada).id
    whole = list(ada.follow_run(run))
    assert list(ada.follow_run(run, last=whole[2].place)) == whole[3:]


def test_pages_are_fetched_as_they_are_read(as_user):
    """One list, newest first, however many come in a page; a cursor goes on behind."""
    joan = as_user("joan")
    made = [ask(joan).id for _ in range(3)][::-1]
    assert [each.id for each in itertools.islice(joan.list_runs(requester="joan", limit=1), 3)] == made
    first = joan.list_runs(requester="joan", limit=2).first()
    assert [each.id for each in joan.list_runs(requester="joan", cursor=first.next)][:1] == made[2:]
    assert list(joan.list_runs(project="none")) == []


def test_the_log_is_searched_proved_and_verified(as_user):
    """Events by filter, one with its proof, and all of it by the server."""
    owner = as_user("owner")
    run = ask(owner).id
    ended(owner, run)
    since = datetime(2020, 1, 1, tzinfo=UTC)
    (found,) = owner.list_events(run=run, kind="run.requested", since=since)
    shown = owner.get_event(found.index)
    assert shown.leaf == found.leaf
    assert shown.proof.startswith("c2sp.org/tlog-proof@")
    assert owner.verify_audit().outcome == "ok"


def test_who_there_is_and_what_there_is(as_user):
    """Users, groups, projects, environments, policy sets."""
    ada = as_user("ada")
    assert ada.get_me().user == "ada"
    assert {"ada", "grace", "joan"} <= {each.name for each in ada.list_users()}
    assert [each.members for each in ada.list_groups() if each.name == "platform"] == [["ada", "grace"]]
    assert [each.name for each in ada.list_projects()] == ["storage"]
    assert [each.name for each in ada.list_environments()] == ["dev"]
    assert ada.get_environment("dev").vars == {"region": "here"}
    assert list(ada.list_policy_sets(name="none")) == []


def test_who_holds_a_state_and_how_the_log_stands(as_user, place):
    """As the home itself has both, rebuilt from what was sent."""
    ada = as_user("ada")
    run = RunId(ask(ada).id)
    ended(ada, run)
    with closing(place.open()) as house:
        with house.rooms.db.begin("test") as tx:
            house.rooms.states.acquire(tx, "dev", "network", run, "change")
        held, stands = house.runs.locks(house.who, "dev"), house.audit.search.standing(house.who)
        told = RemoteHouse(ada)
        assert [(each.name, each.by.run) for each in held] == [("network", run)]
        assert told.runs.locks(None, "dev") == held
        assert told.audit.search.standing(None).size >= stands.size > 0
        assert governance.standing(back.standing(governance.standing(stands))) == governance.standing(stands)
        with house.rooms.db.begin("test") as tx:
            house.rooms.states.release(tx, "dev", "network", run, "change")
    assert list(ada.list_locks("dev")) == []


def test_the_last_back_test_of_a_candidate_is_told(as_user, place):
    """As it was stored; before there is one, what makes one."""
    owner = as_user("owner")
    with closing(place.open()) as house:
        (newest, *_) = house.policy.versions(house.who, "policy")
        with pytest.raises(MandamusError) as refused:
            owner.get_backtest("policy", newest.digest)
        assert (refused.value.code, "policy backtest" in refused.value.remedy) == (Code.NOT_FOUND, True)
        house.backtests.run(house.who, "policy", newest.digest, protected=lambda _name: False)
        found = house.backtests.last(house.who, "policy", newest.digest)
    assert owner.get_backtest("policy", newest.digest).document == found


def test_what_a_project_offers_is_told_with_all_it_takes(as_user):
    """Each workflow with inputs and steps; one by its path, with the very text of its file."""
    ada = as_user("ada")
    (listed,) = ada.list_workflows("storage")
    shown = ada.get_workflow("storage", WORKFLOW)
    assert (listed.file, listed.name, listed.problem) == (WORKFLOW, "deploy", "")
    assert shown.model_dump(exclude={"text"}) == listed.model_dump()
    assert "deploy" in shown.text
    assert {each.name: (each.type, each.default) for each in listed.inputs}["says"] == ("string", "done")
    assert [each.executor for each in listed.steps] == ["script"] * len(listed.steps)
    for project, file in (("none", WORKFLOW), ("storage", "../platform.yaml"), ("storage", "platform.yaml")):
        with pytest.raises(MandamusError) as refused:
            ada.get_workflow(project, file)
        assert refused.value.code in {Code.NOT_FOUND, Code.USAGE}


def test_who_would_be_asked_is_told_before(as_user):
    """The seats of the environment with whoever could sit there, and which sets judge; unknown places are not there."""
    found = as_user("ada").get_outlook("storage", "dev")
    assert (found.environment, found.refused) == ("dev", "")
    assert [(seat.group, seat.count) for seat in found.seats] == [("", 1)]
    assert [each["level"] for each in found.policies] == ["hard-mandatory"]
    for project, environment in (("storage", "none"), ("none", "dev")):
        with pytest.raises(MandamusError) as refused:
            as_user("ada").get_outlook(project, environment)
        assert refused.value.code is Code.NOT_FOUND


def test_a_token_is_made_and_ended(as_user, server):
    """It is worth what was asked for, and nothing once it is ended."""
    ada = as_user("ada")
    made = ada.create_token("less", days=1, permissions=[Permission.SYSTEM_READ])
    with Client(server, made.secret, entropy=bytes) as less:
        assert less.get_me().permissions == ["system:read"]
        with pytest.raises(MandamusError) as refused:
            list(less.list_runs())
        assert refused.value.code is Code.FORBIDDEN
        assert refused.value.context["permission"] == "run:read"
        assert made.id in {each.id for each in ada.list_tokens()}
        assert ada.revoke_token(made.id).revoked_at is not None
        with pytest.raises(MandamusError) as refused:
            less.get_me()
        assert refused.value.code is Code.UNAUTHENTICATED


def test_the_server_tells_of_itself(as_user):
    """Health, version, numbers, and the contract for people."""
    ada = as_user("ada")
    assert ada.get_health() == {"status": "ok"}
    assert ada.get_ready() == {"status": "ready"}
    assert ada.get_version()["name"] == "mandamus"
    assert "mandamus_runs" in ada.get_metrics()
    assert ada.get_docs().startswith("<!doctype html>")


def test_what_cannot_be_sent_is_refused_here(as_user):
    """No path is left by a name, and a field that cannot be is named without what was given."""
    ada = as_user("ada")
    for name in ("", ".", ".."):
        with pytest.raises(MandamusError) as refused:
            ada.get_environment(name)
        assert refused.value.code is Code.USAGE
    with pytest.raises(MandamusError) as refused:
        ada.get_environment("../runs?state=waiting")
    assert refused.value.code is Code.NOT_FOUND
    with pytest.raises(MandamusError) as refused:
        ada.approve_run("run_01m89tq850e2cvgwyfb9428ekw", Digest("hunter2"))
    assert refused.value.code is Code.VALUE_INVALID
    assert "binding" in refused.value.message
    assert "hunter2" not in json.dumps(refused.value.to_json())
