"""Leaf format 1: the one place that writes a leaf. The format is frozen; docs/reference/audit-log.md describes it."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mandamus.audit.forms import TICKET
from mandamus.audit.kinds import Kind
from mandamus.audit.model import FORMAT, LEAF_BYTES_MAX, Event
from mandamus.audit.secret_forms import holds_secret
from mandamus.kernel import canonical
from mandamus.kernel.access import Where
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import Entropy

SALT_BYTES = 32
COMMITMENT = "hmac-sha256:"
NOWHERE = Where()

Private = dict[str, tuple[bytes, str]]
"""Salt and value of each committed field, by the field's path in the leaf."""


@dataclass(frozen=True)
class Place:
    """When and where in its stream an event stands; ``prev`` is the hash of the stream's leaf before it, or empty."""

    id: str
    at_us: int
    stream: str
    seq: int
    prev: bytes


def encode(event: Event, place: Place, entropy: Entropy, here: Where = NOWHERE) -> tuple[bytes, Private]:
    """The canonical leaf, and what has to be kept apart from it; ``here`` tells of the process that records.

    Raises ``value_invalid`` for data that is not canonical JSON, for a leaf over 65,535 bytes and for one that holds
    what looks like a secret.
    """
    private: Private = {}
    leaf = canonical.dumps(
        {
            "format": FORMAT,
            "id": place.id,
            "kind": event.kind.text,
            "at": place.at_us,
            "who": _who(event, private, entropy),
            "where": _where(event.who.where, here, private, entropy),
            "what": {"type": event.resource.type, "id": event.resource.id},
            "project": event.project or None,
            "run": event.run,
            "step": event.step,
            "why": event.why,
            "authority": {"decisions": event.authority.decisions, "approvals": event.authority.approvals},
            "outcome": event.outcome.value,
            "stream": place.stream,
            "seq": place.seq,
            "prev": place.prev.hex() or None,
            "data": {**event.data, "ticket": event.who.ticket} if event.who.ticket else dict(event.data),
        }
    )
    if len(leaf) > LEAF_BYTES_MAX:
        raise MandamusError(
            Code.VALUE_INVALID,
            f"the event {event.kind.text} would be a leaf of {len(leaf)} bytes, {LEAF_BYTES_MAX} is the most",
            remedy="put the large value into the blob store and its digest into the event",
            context={"kind": event.kind.text, "bytes": len(leaf)},
        )
    if holds_secret(leaf):
        # It is not said where: the value itself must not be written down anywhere.
        raise MandamusError(
            Code.VALUE_INVALID,
            f"the event {event.kind.text} would hold what looks like a secret, and the log keeps it for ever",
            remedy="leave private keys, tokens and passwords out of reasons and names; name where they are kept",
            context={"kind": event.kind.text},
        )
    return leaf, private


def commitment(salt: bytes, value: str) -> str:
    """What stands in the leaf for a value that must stay erasable: HMAC-SHA256 keyed with a 32-byte random salt."""
    return COMMITMENT + hmac.digest(salt, value.encode(), "sha256").hex()


def decode(leaf: bytes) -> Mapping[str, Any]:
    """The fields of a leaf; raises ``audit_tampered`` when it is not of this format."""
    try:
        fields = canonical.loads(leaf)
    except MandamusError as error:
        raise _foreign() from error
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        raise _foreign()
    return fields


def _foreign() -> MandamusError:
    return MandamusError(
        Code.AUDIT_TAMPERED,
        f"a leaf is not of the format {FORMAT}",
        remedy="the leaf was changed, or written by a newer release: verify with that release",
    )


def check(event: Event) -> None:
    """Raise ``value_invalid`` for a data field or form the kind does not allow and for a name no database can hold."""
    found_by = (event.who.user, event.resource.type, event.resource.id, event.run or "")
    if any("\0" in text for text in found_by):
        raise MandamusError(
            Code.VALUE_INVALID,
            f"the event {event.kind.text} has a NUL character in a name",
            remedy="give names of printable characters",
        )
    checks = event.kind.checks
    for name, value in event.data.items():
        if name not in checks or not checks[name](value):
            raise _unfit(event.kind, name)
    if event.who.ticket and not TICKET.fits(event.who.ticket):
        raise MandamusError(
            Code.VALUE_INVALID,
            "that is no name of a ticket",
            remedy="give its key alone, up to 100 letters, digits and . _ / # : -, such as CHG-1234",
            context={"kind": event.kind.text},
        )


def _unfit(kind: Kind, name: str) -> MandamusError:
    form = kind.fields.get(name)
    if form is None:
        message = f"the event {kind.text} may not carry {name}"
        remedy = f"it may carry: {', '.join(sorted(kind.fields)) or 'no data'}"
    else:
        # The value is not said: it may be what must not be written down anywhere.
        message = f"{name} of the event {kind.text} is of another form than it must be"
        remedy = f"give it as: {form.words}"
    context = {"kind": kind.text, "field": name}
    return MandamusError(Code.VALUE_INVALID, message, remedy=f"{remedy}; see docs/reference/events.md", context=context)


def _who(event: Event, private: Private, entropy: Entropy) -> dict[str, Any]:
    who = event.who
    return {
        "subject": who.user,
        "authn": who.authn,
        "behalf_of": who.behalf_of,
        "groups": sorted(who.groups),
        "name": _commit("who.name", who.display_name, private, entropy),
    }


def _where(where: Where, here: Where, private: Private, entropy: Entropy) -> dict[str, Any]:
    return {
        "address": _commit("where.address", where.address, private, entropy),
        "agent": where.agent or here.agent or None,
        "request": where.request or here.request or None,
        "node": where.node or here.node or None,
    }


def _commit(field: str, value: str, private: Private, entropy: Entropy) -> str | None:
    if not value:
        return None
    salt = entropy(SALT_BYTES)
    private[field] = (salt, value)
    return commitment(salt, value)
