"""What is said of an event: a CloudEvent for programs, one or two sentences with a link for people."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from mandamus.audit.kinds import Kind
from mandamus.audit.placed import Placed
from mandamus.audit.standard_webhook import envelope
from mandamus.kernel.clock import Clock
from mandamus.notify.model import RESOURCE, Leaf, Message, asked_groups

WHY_CHARS_MAX = 300
TEST_KIND = "notify.test"

_DOCS = {kind.text: kind.doc for kind in Kind}

Because = Callable[[str, str], str]
"""What policy said, in its own words or empty: in a run's decision by its id, or where it denied the run for none."""


class Messages:
    """Puts events of one home into words. They hold ids, names and links, and nothing that a tool or a person wrote.

    The one exception is what policy said where it denied something, or has somebody told: it only sees what is
    redacted. ``console`` gives the URL under which people reach the console, or nothing; ``source`` the log's name.
    """

    def __init__(self, source: Callable[[], str], console: Callable[[], str], because: Because, clock: Clock) -> None:
        self._source = source
        self._console = console
        self._because = because
        self._clock = clock

    def of(self, placed: Placed) -> Message:
        """The message of an event."""
        leaf = placed.leaf
        why = self._why(leaf)
        link = self._link(leaf)
        text = " ".join(part for part in (_sentence(leaf, placed.environment or "", why), _way(leaf, link)) if part)
        data = {
            "event": leaf["id"],
            "kind": leaf["kind"],
            "text": text,
            "actor": leaf["who"]["subject"],
            "outcome": leaf["outcome"],
            "resource": leaf["what"],
            "project": leaf["project"],
            "environment": placed.environment or None,
            "run": leaf["run"],
            "step": leaf["step"],
            "state": leaf["data"].get("state"),
            "groups": asked_groups(leaf),
            "decisions": leaf["authority"]["decisions"],
            "ticket": leaf["data"].get("ticket"),
            "why": why or None,
            "link": link or None,
        }
        return self._message(leaf, data, text)

    def test(self, name: str, event: str, actor: str) -> Message:
        """A message of no meaning to a subscription, with an id of its own."""
        text = f"{actor} tests the subscription {name}. Nothing has to be done."
        what = {"type": RESOURCE, "id": name}
        data = {"event": event, "kind": TEST_KIND, "text": text, "actor": actor, "outcome": "ok", "resource": what}
        leaf = {"id": event, "kind": TEST_KIND, "what": what, "at": self._clock.now_us()}
        return self._message(leaf, {**data, "link": self._console().rstrip("/") or None}, text)

    def _message(self, leaf: Leaf, data: Mapping[str, Any], text: str) -> Message:
        body = envelope(leaf, self._source(), leaf["id"], data)
        return Message(leaf["id"], body, f"Mandamus: {leaf['kind']}", text)

    def _why(self, leaf: Leaf) -> str:
        named = leaf["data"]["decision"] if leaf["data"].get("notify") else ""
        if not leaf["run"] or (leaf["outcome"] != "denied" and not named):
            return ""
        return self._because(leaf["run"], named)[:WHY_CHARS_MAX]

    def _link(self, leaf: Leaf) -> str:
        console = self._console().rstrip("/")
        if not console:
            return ""
        if leaf["kind"] == "step.waiting":
            return f"{console}/runs/{leaf['run']}/steps/{leaf['step']}/decide"
        if leaf["run"]:
            return f"{console}/runs/{leaf['run']}"
        if leaf["what"]["type"] == "environment":
            return f"{console}/environments"
        return f"{console}/audit?kind={leaf['kind']}"


def _sentence(leaf: Leaf, environment: str, why: str) -> str:
    say = _SENTENCES.get(leaf["kind"])
    if say is not None:
        return say(leaf, f" in {environment}" if environment else "", why)
    what, who = leaf["what"], leaf["who"]["subject"]
    about = f"{what['type']} {what['id']}" + (f", step {leaf['step']}" if leaf["step"] else "")
    where = f" in {environment}" if environment and what["type"] != "environment" else ""
    return f"{_DOCS.get(leaf['kind'], leaf['kind'])} ({about}{where}, by {who})."


def _way(leaf: Leaf, link: str) -> str:
    if link:
        return f"See {link}"
    return f"See `mandamus runs show {leaf['run']}`." if leaf["run"] else ""


def _waiting(leaf: Leaf, where: str, _why: str) -> str:
    asked = [f"{each['count']} of {each['group']}" for each in leaf["data"].get("requires", ()) if each.get("group")]
    people = " and ".join(asked) or "the approvers"
    return f"{leaf['who']['subject']} asks for approval of step {leaf['step']}{where}: {people} must say yes."


def _closed(leaf: Leaf, where: str, why: str) -> str:
    state = leaf["data"].get("state", leaf["outcome"])
    return f"The run of {leaf['who']['subject']}{where} ended: {state}." + (f" Policy says: {why}" if why else "")


def _denied(leaf: Leaf, where: str, why: str) -> str:
    return f"Policy denied the run of {leaf['who']['subject']}{where}." + (f" It says: {why}" if why else "")


def _decided(leaf: Leaf, where: str, why: str) -> str:
    step = f" of step {leaf['step']}" if leaf["step"] else ""
    outcome = str(leaf["data"].get("outcome", leaf["outcome"])).replace("_", " ")
    who = leaf["who"]["subject"]
    return f"Policy on what {who} asks for{step}{where}: {outcome}." + (f" It says: {why}" if why else "")


def _unsettled(leaf: Leaf, where: str, _why: str) -> str:
    who = leaf["who"]["subject"]
    return f"The run of {who}{where} rests: nobody knows how a change ended, and somebody has to settle it."


def _moved(leaf: Leaf, where: str, _why: str) -> str:
    what = leaf["data"].get("what", "something")
    return f"Step {leaf['step']}{where} is not what was approved any more ({what} moved): it is looked at again."


def _opened(leaf: Leaf, _where: str, _why: str) -> str:
    return f"{leaf['who']['subject']} declared an emergency; it lets nothing through before another confirms it."


def _confirmed(leaf: Leaf, _where: str, _why: str) -> str:
    return f"{leaf['who']['subject']} confirmed the emergency: effects begin although the log is in trouble."


def _used(leaf: Leaf, where: str, _why: str) -> str:
    return f"Step {leaf['step']}{where} begins under break-glass."


_SENTENCES: Mapping[str, Callable[[Leaf, str, str], str]] = {
    Kind.STEP_WAITING.text: _waiting,
    Kind.RUN_CLOSED.text: _closed,
    Kind.RUN_DENIED.text: _denied,
    Kind.DECISION_RECORDED.text: _decided,
    Kind.RUN_UNSETTLED.text: _unsettled,
    Kind.STEP_MOVED.text: _moved,
    Kind.BREAKGLASS_OPENED.text: _opened,
    Kind.BREAKGLASS_CONFIRMED.text: _confirmed,
    Kind.BREAKGLASS_USED.text: _used,
}
"""What people most want to know has words of its own; the rest is told by what its kind says of itself."""
