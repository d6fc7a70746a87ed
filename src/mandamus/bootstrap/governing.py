"""Says what governs a home beside what is declared in it: settings, key sources, sinks, anchors and witnesses."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mandamus.audit.anchor_file import read
from mandamus.audit.witness_client import Witnessing
from mandamus.bootstrap.anchors import ANCHORS_FILE
from mandamus.bootstrap.witnesses import WITNESSES_FILE
from mandamus.kernel import canonical
from mandamus.kernel.errors import MandamusError
from mandamus.operations.sinks import SINKS_FILE, load
from mandamus.settings import Settings

PLAIN = (
    "audit_timeout_s",
    "audit_lag_warn_s",
    "audit_lag_block_s",
    "disk_free_min_percent",
    "disk_enough_gib",
    "witness_mode",
    "witness_grace_min",
    "witness_timeout_s",
    "policy_deadline_ms",
)
"""Settings that govern what may happen and are no secret."""
DIGESTED = (
    "policy_url",
    "policy_roots",
    "policy_token_file",
    "log_key_command",
    "platform_key_command",
    "public_url",
    "trusted_proxies",
)
"""The same of settings that might hold one, or a place of this machine."""
_UNREADABLE = {"file": "unreadable"}


def governing(settings: Settings, home: Path, witnesses: Witnessing | None) -> dict[str, Any]:
    """What governs the home now, by part; nothing in it is a secret.

    A file of sinks or anchors that does not fit keeps no home from opening, so here it is only said to be so.
    """
    return usual(settings) | {
        "sinks": _declared(_sinks, home / SINKS_FILE),
        "anchors": _declared(_anchors, home / ANCHORS_FILE),
        "witnesses": {} if witnesses is None else _witnesses(witnesses, home / WITNESSES_FILE),
    }


def usual(settings: Settings) -> dict[str, Any]:
    """What governs a home that declares nothing in files: with ``Settings()``, one that says nothing at all."""
    return {
        "settings": {name: getattr(settings, name) for name in PLAIN}
        | {name: _digest(getattr(settings, name)) for name in DIGESTED}
        | {"policy_server": _server(settings.policy_url)},
        "keys": {
            "log": _source(settings.log_key, settings.log_key_command),
            "platform": _source(settings.platform_key, settings.platform_key_command),
        },
    }


def _digest(text: str) -> str:
    return canonical.digest_of(text) if text else ""


def _server(url: str) -> str:
    """Whom a URL asks, without the user, password, path and query that may stand in it."""
    return urlsplit(url).netloc.rpartition("@")[2]


def _source(text: str, command: str) -> str:
    """Where a key comes from; a file in the home is what remains."""
    return " and ".join(name for name, given in (("command", command), ("environment", text)) if given) or "home"


def _declared(parts: Callable[[Path], Mapping[str, Any]], file: Path) -> Mapping[str, Any]:
    try:
        return parts(file)
    except (MandamusError, OSError):
        return _UNREADABLE


def _sinks(file: Path) -> Mapping[str, Any]:
    return {
        sink.name: {"form": sink.form.value, "required": sink.required, "declared": sink.digest}
        for sink in load(file).values()
    }


def _anchors(file: Path) -> Mapping[str, Any]:
    if not file.exists():
        return {}
    return {
        each.name: {
            "kind": each.kind,
            "every_s": each.every_s,
            "declared": canonical.digest_of({name: str(value) for name, value in vars(each).items()}),
        }
        for each in read(file.read_bytes(), str(file), file.parent)
    }


def _witnesses(witnesses: Witnessing, file: Path) -> Mapping[str, Any]:
    """Of the policy its quorum, who is in it, and the digest of the file."""
    names = " ".join(each.name for each in witnesses.policy.witnesses)
    return {
        "quorum": _printable(witnesses.policy.quorum),
        "names": _printable(names),
        "policy": f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}",
    }


def _printable(text: str) -> str:
    """Bytes of a policy file that are no UTF-8 stand in its names as they are."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
