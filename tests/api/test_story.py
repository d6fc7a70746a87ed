"""One governed change by the API alone: denied, mended, asked, refused, approved, applied, proved."""

from __future__ import annotations

import base64
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import httpx2

from mandamus.evidence.verify import verify

RUNS = "/api/v1/runs"


def ask(client: httpx2.Client, **inputs: Any) -> dict[str, Any]:
    """Request a run; gives it as it was answered."""
    body = {"project": "storage", "workflow": "workflows/deploy.yaml", "environment": "dev", "inputs": inputs}
    answer = client.post(RUNS, json=body)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    assert answer.headers["location"] == f"{RUNS}/{found['id']}"
    return found


def follow(client: httpx2.Client, run: str, last: str | None = None) -> list[tuple[int, str, Any]]:
    """Every event of a run's stream until it ends: id, kind and data."""
    headers = {} if last is None else {"Last-Event-ID": last}
    found, fields = [], {}
    with client.stream("GET", f"{RUNS}/{run}/events", headers=headers) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        for line in answer.iter_lines():
            name, _, value = line.partition(": ")
            if name:
                fields[name] = value
            elif "event" in fields:
                found.append((int(fields["id"]), fields["event"], json.loads(fields["data"])))
                fields = {}
    return found


def until(client: httpx2.Client, run: str, kind: str) -> None:
    """Follow a run until an event of a kind."""
    with client.stream("GET", f"{RUNS}/{run}/events") as answer:
        for line in answer.iter_lines():
            if line == f"event: {kind}":
                return
    raise AssertionError(f"{run} ended without {kind}")


def test_a_denied_run_says_why_and_what_to_do(as_user):
    """Policy's no reaches the caller with rule and remedy, as the state of the run."""
    ada = as_user("ada")
    run = ask(ada, public=True)["id"]
    assert follow(ada, run)[-1][1:] == ("end", {"state": "denied"})
    found = ada.get(f"{RUNS}/{run}").json()
    assert "nothing may be public" in found["error"]["message"]
    assert found["steps"][0]["state"] == "denied"


def test_the_whole_story(as_user, place, tmp_path: Path):
    """Asked, refused for the maker, approved by another, applied, and proved by a stranger from the bundle alone."""
    ada, grace = as_user("ada"), as_user("grace")
    run = ask(ada, asked=True, says="hello")["id"]
    until(grace, run, "step.waiting")
    view = next(each for each in grace.get("/api/v1/inbox").json()["items"] if each["id"] == run)
    assert [(each["group"], each["count"]) for each in view["asked"]] == [("platform", 1)]
    assert run not in {each["id"] for each in ada.get("/api/v1/inbox").json()["items"]}
    yes = {"binding": view["asked"][0]["binding"], "reason": "as agreed"}

    own = ada.post(f"{RUNS}/{run}/approve", json=yes)
    assert (own.status_code, own.json()["code"]) == (403, "approval_refused")
    moved = grace.post(f"{RUNS}/{run}/approve", json={**yes, "binding": "sha256:" + "0" * 64})
    assert (moved.status_code, moved.json()["code"]) == (403, "approval_refused")
    given = grace.post(f"{RUNS}/{run}/approve", json=yes)
    assert given.status_code == 200, given.text
    assert given.json()["by"] == "grace"

    events = follow(ada, run)
    assert events[-1][1:] == ("end", {"state": "succeeded"})
    assert [place_ for place_, *_ in events[:-1]] == list(range(len(events) - 1))
    log = ada.get(f"{RUNS}/{run}/steps/change/log")
    assert (log.text, log.headers["log-done"]) == ("hello\n", "true")
    bundle = grace.get(f"{RUNS}/{run}/evidence")
    assert bundle.headers["content-disposition"] == f'attachment; filename="{run}.zip"'
    file = tmp_path / "proof.zip"
    file.write_bytes(bundle.content)
    assert zipfile.ZipFile(io.BytesIO(bundle.content)).testzip() is None
    trust = grace.get("/api/v1/audit/checkpoint").json()["key"]
    assert verify(file, trust).ok


def test_a_stream_goes_on_where_it_was_left(as_user):
    """Last-Event-ID: nothing is told twice and nothing is left out."""
    ada = as_user("ada")
    run = ask(ada)["id"]
    whole = follow(ada, run)
    assert follow(ada, run, last=str(whole[2][0])) == whole[3:]


def test_an_auditor_who_follows_is_told_of_once(as_user):
    """Each read of an auditor's is an event; what they follow wakes for events, and must not wake for its own."""
    ada, rita, owner = as_user("ada"), as_user("rita"), as_user("owner")
    run = ask(ada, asked=True)["id"]
    until(ada, run, "step.waiting")
    with rita.stream("GET", f"{RUNS}/{run}/events") as answer:
        lines = answer.iter_lines()
        while next(lines) != "event: step.waiting":
            continue
        ada.post(f"{RUNS}/{run}/cancel", json={})
        assert "event: end" in list(lines)
    wanted = {"actor": "rita", "kind": "access.read"}
    assert 1 <= len(owner.get("/api/v1/audit/events", params=wanted).json()["items"]) <= 3


def test_output_is_streamed_in_pieces_with_offsets(as_user):
    """The id of a piece is the byte offset behind it."""
    ada = as_user("ada")
    run = ask(ada, says="grüße")["id"]
    follow(ada, run)
    with ada.stream("GET", f"{RUNS}/{run}/steps/change/log/stream") as answer:
        lines = list(answer.iter_lines())
    data = [json.loads(line.partition(": ")[2]) for line in lines if line.startswith("data")]
    assert base64.b64decode(data[0]) == "grüße\n".encode()
    assert lines[0] == f"id: {len('grüße'.encode()) + 1}"


def test_a_request_that_is_sent_twice_is_done_once(as_user):
    """The same Idempotency-Key: the same answer, and one run; another request under it is refused."""
    ada = as_user("ada")
    body = {"project": "storage", "workflow": "workflows/deploy.yaml", "environment": "dev", "reason": "once"}
    headers = {"Idempotency-Key": "k-1"}
    first, again = ada.post(RUNS, json=body, headers=headers), ada.post(RUNS, json=body, headers=headers)
    assert first.json() == again.json()
    assert again.headers["location"] == first.headers["location"]
    other = ada.post(RUNS, json={**body, "reason": "twice"}, headers=headers)
    assert (other.status_code, other.json()["code"]) == (409, "conflict")
    runs = ada.get(RUNS, params={"requester": "ada", "limit": 200}).json()["items"]
    assert sum(each["reason"] == "once" for each in runs) == 1


def test_a_failed_request_leaves_its_key_free(as_user):
    """Nothing came of it, so that the same key may be tried again."""
    ada = as_user("ada")
    body = {"project": "storage", "workflow": "workflows/none.yaml", "environment": "dev"}
    headers = {"Idempotency-Key": "k-2"}
    assert ada.post(RUNS, json=body, headers=headers).status_code in {404, 422}
    assert ada.post(RUNS, json={**body, "workflow": "workflows/deploy.yaml"}, headers=headers).status_code == 201


def test_runs_come_in_pages_and_by_filter(as_user):
    """Newest first; the cursor goes on behind the last one."""
    joan = as_user("joan")
    made = [ask(joan)["id"] for _ in range(3)]
    page = joan.get(RUNS, params={"requester": "joan", "limit": 2}).json()
    rest = joan.get(RUNS, params={"requester": "joan", "limit": 2, "cursor": page["next"]}).json()
    assert [each["id"] for each in [*page["items"], *rest["items"]]][:3] == made[::-1]
    assert joan.get(RUNS, params={"project": "none"}).json() == {"items": [], "next": None}


def test_whoever_has_seen_a_run_is_told_no_more(as_user):
    """ETag and If-None-Match (RFC 9110)."""
    ada = as_user("ada")
    run = ask(ada)["id"]
    follow(ada, run)
    first = ada.get(f"{RUNS}/{run}")
    again = ada.get(f"{RUNS}/{run}", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert ada.get(f"{RUNS}/{run}", headers={"If-None-Match": '"other"'}).status_code == 200


def test_the_log_is_searched_proved_and_verified(as_user):
    """An auditor finds an event, gets its bytes with a proof, and has everything verified."""
    owner = as_user("owner")
    run = ask(owner)["id"]
    follow(owner, run)
    found = owner.get("/api/v1/audit/events", params={"run": run, "kind": "run.requested"}).json()["items"]
    shown = owner.get(f"/api/v1/audit/events/{found[0]['index']}").json()
    assert json.loads(base64.b64decode(shown["leaf_base64"]))["run"] == run
    assert shown["proof"].startswith("c2sp.org/tlog-proof@")
    assert owner.post("/api/v1/audit/verify").json()["outcome"] == "ok"


def test_decisions_tell_what_policy_said(as_user):
    """Each decision of a run, and one with all it says."""
    ada = as_user("ada")
    run = ask(ada, public=True)["id"]
    follow(ada, run)
    line = ada.get("/api/v1/policy/decisions", params={"run": run, "outcome": "deny"}).json()["items"][0]
    assert "nothing may be public" in line["says"][0]
    assert ada.get(f"/api/v1/policy/decisions/{line['id']}").json()["document"]["outcome"] == "deny"
