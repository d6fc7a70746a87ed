"""Reads the part of a platform file that says who is told of what: subscriptions to events."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mandamus.audit.model import Outcome
from mandamus.catalog.retention import read_kinds, read_texts
from mandamus.catalog.secret import read_secret
from mandamus.catalog.workflow import NAME
from mandamus.kernel.document import Finding, Node
from mandamus.kernel.reader import Reader

SUBSCRIPTIONS_MAX = 100

KEYS = ("webhook", "apprise", "kinds", "projects", "environments", "outcomes", "groups", "active")
WEBHOOK_KEYS = ("url", "secret", "old_secret", "ca", "allow_private")

Document = Mapping[str, Any]
"""A subscription in the form of `notify.model.subscription_from`."""


def read_notify(reader: Reader, node: Node, folder: Path) -> Mapping[str, Document]:
    """Every subscription by its name, relative paths standing in ``folder``; notes what is wrong."""
    found = reader.mapping(node, "`notify`")
    if len(found) > SUBSCRIPTIONS_MAX:
        reader.add(node, Finding.LIMIT, f"more than {SUBSCRIPTIONS_MAX} subscriptions", "let some take more kinds")
        return {}
    return {name: _subscription(reader, name, node, child, folder) for name, child in found.items()}


def _subscription(reader: Reader, name: str, parent: Node, node: Node, folder: Path) -> Document:
    if not NAME.fullmatch(name):
        message = f"`{name[:60]}` is no name for a subscription"
        reader.add(parent.key_at(name), Finding.WRONG_VALUE, message, "use lower-case letters, digits, - and _")
    fields = reader.table(node, f"subscription `{name}`", KEYS, required=("kinds",))
    if ("webhook" in fields) == ("apprise" in fields):
        message = f"subscription `{name}` has {'two targets' if 'webhook' in fields else 'no target'}"
        reader.add(node, Finding.WRONG_VALUE, message, "give one of `webhook` and `apprise`")
    channel = read_secret(reader, fields["apprise"], "`apprise`", folder) if "apprise" in fields else None
    return {
        "webhook": _webhook(reader, fields["webhook"], folder) if "webhook" in fields else None,
        "apprise": channel.to_json() if channel else None,
        "kinds": read_kinds(reader, fields),
        "projects": read_texts(reader, fields, "projects"),
        "environments": read_texts(reader, fields, "environments"),
        "outcomes": _outcomes(reader, fields),
        "groups": read_texts(reader, fields, "groups"),
        "active": reader.boolean(fields["active"], "`active`", default=True) if "active" in fields else True,
    }


def _outcomes(reader: Reader, fields: Mapping[str, Node]) -> tuple[str, ...]:
    known = tuple(each.value for each in Outcome)
    found = reader.sequence(fields["outcomes"], "`outcomes`") if "outcomes" in fields else ()
    return tuple(reader.choice(each, "an element of `outcomes`", known, default=known[0]) for each in found)


def _webhook(reader: Reader, node: Node, folder: Path) -> Document:
    fields = reader.table(node, "`webhook`", WEBHOOK_KEYS, required=("url", "secret"))
    url = reader.text(fields["url"], "`url`", late=False) if "url" in fields else ""
    allowed = tuple(_network(reader, each) for each in _elements(reader, fields, "allow_private"))
    problem = _url_problem(url) if url else ""
    if problem:
        reader.add(fields["url"], Finding.WRONG_VALUE, f"`url` {problem}", "write https://HOST/PATH")
    secrets = {
        key: read_secret(reader, fields[key], f"`{key}`", folder) for key in ("secret", "old_secret") if key in fields
    }
    ca = reader.text(fields["ca"], "`ca`", late=False) if "ca" in fields else ""
    return {
        "url": url,
        **{key: ref.to_json() for key, ref in secrets.items() if ref},
        "ca": str((folder / ca).resolve()) if ca else "",
        "allow_private": allowed,
    }


def _elements(reader: Reader, fields: Mapping[str, Node], key: str) -> tuple[Node, ...]:
    return tuple(reader.sequence(fields[key], f"`{key}`")) if key in fields else ()


def _network(reader: Reader, node: Node) -> str:
    text = reader.text(node, "an element of `allow_private`", late=False)
    try:
        return str(ipaddress.ip_network(text)) if text else ""
    except ValueError:
        reader.add(node, Finding.WRONG_VALUE, f"`{text[:60]}` is no network", "write it as CIDR, such as 10.1.2.0/24")
        return ""


def _url_problem(text: str) -> str:
    """What is wrong with the URL of a webhook, never with the URL itself, which may hold what is private."""
    if not text.isascii() or not text.isprintable() or " " in text or "\\" in text:
        return "holds a character that has to be percent-encoded"
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        return "is no URL"
    if parts.scheme not in {"http", "https"} or not host:
        return "is no https URL"
    if parts.username is not None or parts.fragment:
        return "has a user name or a fragment in it"
    if parts.scheme == "http" and not _is_loopback(host):
        return "would send in the clear: http is for this machine only"
    return ""


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
