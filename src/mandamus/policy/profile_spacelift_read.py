"""What the answers of Spacelift's policy types mean here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mandamus.policy.model import DENY, REQUIRE_APPROVAL, WARN, Entry, Fault, Said, fault
from mandamus.policy.profile_foreign import ANSWER, members, text_or_object, truth

Answer = Mapping[str, Sequence[Any]]


def _deny(entry: Entry, found: Answer, *, required: bool) -> list[Said]:
    said = members(entry, found[ANSWER], required=required)
    return [Said(DENY, entry.rule, text_or_object(entry, member)) for member in said]


def _warn(entry: Entry, found: Answer, *, required: bool) -> list[Said]:
    """A warning asks for a person, as it does on a stack that deploys by itself."""
    said: list[Said] = []
    for given in members(entry, found[ANSWER], required=required):
        member = text_or_object(entry, given)
        msg = member if isinstance(member, str) else member["msg"]
        said += [Said(WARN, entry.rule, member), Said(REQUIRE_APPROVAL, entry.rule, {"msg": msg})]
    return said


def _approve(entry: Entry, found: Answer) -> list[Said]:
    """Undecided is one yes more than there are; the last question before the effect asks again."""
    if truth(entry, found[ANSWER]):
        return []
    ((_, given),) = found["given"]
    return [_more(entry, int(given) + 1)]


def _approve_beforehand(entry: Entry, found: Answer) -> list[Said]:
    """As many yeses as would make it true; none would, so it is a no."""
    truth(entry, found[ANSWER])
    ((_, enough),) = found["enough"]
    if not enough:
        return [Said(DENY, entry.rule, "no number of approvals would make `approve` true for this plan")]
    least = min(int(count) for count in enough)
    return [_more(entry, least)] if least else []


def _more(entry: Entry, count: int) -> Said:
    return Said(REQUIRE_APPROVAL, entry.rule, {"count": count, "msg": "`approve` is not true yet"})


def _reject(entry: Entry, found: Answer) -> list[Said]:
    return [Said(DENY, entry.rule, "the approval policy rejects it")] if truth(entry, found[ANSWER]) else []


def _push(entry: Entry, found: Answer) -> list[Said]:
    """``ignore`` comes first; ``track`` lets every run start, ``propose`` only those that apply nothing."""
    says = _truths(entry, found, ("track", "propose", "ignore", "ignore_track", "plan_only"))
    if says["ignore"]:
        return [Said(DENY, entry.rule, "the push policy ignores it")]
    if says["track"] and not says["ignore_track"]:
        return []
    if says["propose"]:
        proposed = "the push policy only proposes it: ask for a plan alone"
        return [] if says["plan_only"] else [Said(DENY, entry.rule, proposed)]
    return [Said(DENY, entry.rule, "the push policy neither tracks nor proposes it")]


def _trigger(entry: Entry, found: Answer) -> list[Said]:
    """No further run is started here; what the policy names is shown."""
    named = members(entry, found[ANSWER], required=False)
    if not all(isinstance(name, str) for name in named):
        raise fault(Fault.SHAPE_INVALID, f"a member of data.{entry.rule} is no text", "name stacks by their id")
    return [Said(WARN, entry.rule, f"would trigger {name}") for name in named]


def _login(entry: Entry, found: Answer) -> list[Said]:
    """An environment is a space; reading it is what ``space_read`` lets do."""
    says = _truths(entry, found, ("allow", "admin", "deny", "reads"))
    ((_, space),) = found["space"]
    spaces = {
        key
        for key in ("space_admin", "space_write", "space_read")
        if space in members(entry, found.get(key, ()), required=False)
    }
    if says["deny"]:
        return [Said(DENY, entry.rule, "the login policy denies it")]
    if says["allow"] or says["admin"] or spaces & {"space_admin", "space_write"} or (spaces and says["reads"]):
        return []
    return [Said(DENY, entry.rule, "the login policy does not allow it")]


def _access(entry: Entry, found: Answer) -> list[Said]:
    says = _truths(entry, found, ("read", "write", "deny", "deny_write", "reads"))
    writes = says["write"] and not says["deny_write"]
    if says["deny"] or (says["deny_write"] and not says["reads"]):
        return [Said(DENY, entry.rule, "the access policy denies it")]
    if writes or (says["reads"] and (says["read"] or says["write"])):
        return []
    return [Said(DENY, entry.rule, "the access policy does not allow it")]


def _truths(entry: Entry, found: Answer, keys: Sequence[str]) -> dict[str, bool]:
    package = entry.rule.rpartition(".")[0]
    return {key: truth(entry, found.get(key, ()), f"{package}.{key}") for key in keys}


READERS: Mapping[str, Callable[[Entry, Answer], list[Said]]] = {
    "deny set": lambda entry, found: _deny(entry, found, required=True),
    "deny rule": lambda entry, found: _deny(entry, found, required=False),
    "warn set": lambda entry, found: _warn(entry, found, required=True),
    "warn rule": lambda entry, found: _warn(entry, found, required=False),
    "approve": _approve,
    "approve beforehand": _approve_beforehand,
    "reject": _reject,
    "push": _push,
    "trigger": _trigger,
    "login": _login,
    "access": _access,
}
"""By the kind of an entry."""
