"""Reads `exchange` and `provisioning` of a platform file: which other systems let programs in, or make users."""

from __future__ import annotations

from collections.abc import Mapping

from mandamus.catalog.workflow import NAME
from mandamus.identity.declared_machines import Machines
from mandamus.identity.exchange import MINUTES, MINUTES_MAX, PATTERNS_MAX, SHARED, Exchange, says_whose
from mandamus.identity.issuer import is_secure
from mandamus.identity.model import GROUP_NAME, USER_NAME
from mandamus.kernel.access import Permission
from mandamus.kernel.document import Finding, Kind, Node
from mandamus.kernel.reader import Reader, did_you_mean

KEYS = ("exchange", "provisioning")
EXCHANGE_KEYS = ("issuer", "audience", "claims", "account", "permissions", "minutes")
PROVISIONING_KEYS = ("users", "groups")
_REGISTERED = frozenset({"iss", "aud", "exp", "iat", "nbf", "jti"})
_NOT_SHORT = frozenset({Permission.IDENTITY_WRITE, Permission.TOKEN_WRITE, Permission.IDENTITY_PROVISION})
"""What a short token never has: with it, somebody could make what lasts."""


def read_machines(reader: Reader, fields: Mapping[str, Node]) -> Machines:
    """What the file says of other systems; notes what is wrong. ``fields`` are the sections of the file, by name."""
    exchanges, users, groups = None, None, None
    if "exchange" in fields:
        found = reader.mapping(fields["exchange"], "`exchange`")
        exchanges = tuple(_exchange(reader, name, fields["exchange"], node) for name, node in found.items())
    if "provisioning" in fields:
        table = reader.table(fields["provisioning"], "`provisioning`", PROVISIONING_KEYS)
        users = reader.texts(table["users"], "`users`", late=False) if "users" in table else ()
        groups = reader.texts(table["groups"], "`groups`", late=False) if "groups" in table else ()
        for name in (*users, *groups):
            if not (USER_NAME if name in users else GROUP_NAME).fullmatch(name):
                message = f"`{name[:60]}` names nobody"
                reader.add(fields["provisioning"], Finding.WRONG_VALUE, message, "write names of users and of groups")
    return Machines(exchanges, users, groups)


def _exchange(reader: Reader, name: str, parent: Node, node: Node) -> Exchange:
    if not NAME.fullmatch(name):
        message = f"`{name[:60]}` is no name for an exchange"
        reader.add(parent.key_at(name), Finding.WRONG_VALUE, message, "use lower-case letters, digits, - and _")
    required = ("issuer", "audience", "claims", "account", "permissions")
    fields = reader.table(node, f"exchange `{name}`", EXCHANGE_KEYS, required=required)
    issuer = reader.text(fields["issuer"], "`issuer`", late=False) if "issuer" in fields else ""
    if issuer and not is_secure(issuer):
        remedy = "write https://HOST, or http for this machine alone"
        reader.add(fields["issuer"], Finding.WRONG_VALUE, "`issuer` is no address that can be trusted", remedy)
    minutes = MINUTES
    if "minutes" in fields:
        minutes = reader.integer(fields["minutes"], "`minutes`", minimum=1, maximum=MINUTES_MAX, default=MINUTES)
    return Exchange(
        name=name,
        issuer=issuer,
        audience=reader.text(fields["audience"], "`audience`", late=False) if "audience" in fields else "",
        claims=_claims(reader, fields["claims"], issuer) if "claims" in fields else {},
        account=reader.text(fields["account"], "`account`", late=False) if "account" in fields else "",
        permissions=_permissions(reader, fields["permissions"]) if "permissions" in fields else frozenset(),
        minutes=minutes,
    )


def _claims(reader: Reader, node: Node, issuer: str) -> dict[str, tuple[str, ...]]:
    made = {}
    for claim, child in reader.mapping(node, "`claims`").items():
        if claim in _REGISTERED:
            message = f"`{claim}` is looked at anyway, and says nothing of who asks"
            reader.add(node.key_at(claim), Finding.WRONG_VALUE, message, "name a claim such as repository")
        listed = reader.sequence(child, f"`{claim}`") if child.kind is Kind.LIST else [child]
        patterns = tuple(_pattern(reader, claim, each) for each in listed)
        if not patterns or len(patterns) > PATTERNS_MAX:
            message = f"`{claim}` has no value, or more than {PATTERNS_MAX}"
            reader.add(child, Finding.WRONG_VALUE, message, "write one, or a list of some")
        made[claim] = patterns
    if not made:
        reader.add(node, Finding.WRONG_VALUE, "`claims` ask for nothing", "name at least one, such as repository")
    elif not says_whose(issuer, made):
        names = ", ".join(sorted(SHARED[issuer]))
        message = "that issuer signs for everybody, and `claims` do not say for whom"
        reader.add(node, Finding.WRONG_VALUE, message, f"ask for one of {names}, not beginning with *")
    return made


def _pattern(reader: Reader, claim: str, node: Node) -> str:
    """A value as a whole; ``ref_protected: true`` is the text that the token says."""
    if isinstance(node.value, bool):
        return str(node.value).lower()
    if isinstance(node.value, int):
        return str(node.value)
    text = reader.text(node, f"`{claim}`", late=False)
    if text and not text.strip("*"):
        reader.add(node, Finding.WRONG_VALUE, f"`{claim}` may be anything", "leave it out, or say what it has to be")
    return text


def _permissions(reader: Reader, node: Node) -> frozenset[Permission]:
    known = {each.value: each for each in Permission if each not in _NOT_SHORT}
    made = set()
    for each in reader.sequence(node, "`permissions`"):
        text = reader.text(each, "a permission", late=False)
        if text in known:
            made.add(known[text])
        elif text:
            remedy = did_you_mean(text, sorted(known), "see docs/reference/permissions.md")
            reader.add(each, Finding.UNKNOWN_NAME, f"a short token may not have `{text[:60]}`", remedy)
    if not made:
        reader.add(node, Finding.WRONG_VALUE, "`permissions` name none", "write [run:request, run:read]")
    return frozenset(made)
