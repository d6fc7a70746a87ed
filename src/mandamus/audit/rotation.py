"""The events about a log's keys: with which one it was opened, which follows which, which signs no more."""

from __future__ import annotations

from collections.abc import Mapping

from mandamus.audit.keyring import Keyring
from mandamus.audit.kinds import Kind
from mandamus.audit.model import Event, Resource
from mandamus.audit.signer import Signer
from mandamus.audit.succession import Succession, statement
from mandamus.kernel.access import Subject

LOG = "log"
LOG_KEY = "log-key"


def opening(
    who: Subject, keys: Keyring, platform_key: str, *, why: str = "", continues: Mapping[str, object] | None = None
) -> Event:
    """The very first leaf of a log; ``continues`` tells of the log that this one goes on from."""
    data = {"origin": keys.name, "key": keys.newest.vkey, "platform_key": platform_key}
    beside = {} if continues is None else {"continues": continues}
    return Event(Kind.LOG_OPENED, who, Resource(LOG, keys.name), why=why, data={**data, **beside})


def rotation(who: Subject, old: Signer, new: Signer, ends_us: int, why: str) -> Event:
    """The new key begins to sign beside the old one."""
    data = {"old": old.vkey, "new": new.vkey, "ends_us": ends_us, "statement": statement(old, new)}
    return Event(Kind.LOG_KEY_ROTATED, who, Resource(LOG_KEY, old.name), why=why, data=data)


def retirement(who: Subject, name: str, keys: Succession, why: str) -> Event:
    """The older of the two keys that sign now stops."""
    old, new = keys.signing
    return Event(Kind.LOG_KEY_RETIRED, who, Resource(LOG_KEY, name), why=why, data={"old": old.vkey, "new": new.vkey})
