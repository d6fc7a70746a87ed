"""Reads `sign_in` of the platform file, how people sign in by a provider, and `step_up` of its environments."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mandamus.catalog.secret import read_secret
from mandamus.identity.issuer import is_secure
from mandamus.identity.model import GROUP_NAME, USER_NAME, Role
from mandamus.identity.sign_in import HOLD_S, SCOPES, USER_CLAIM, SignIn, StepUp
from mandamus.kernel.document import Finding, Kind, Node
from mandamus.kernel.reader import Reader

OFF = "none"
_KEYS = ("issuer", "client_id", "client_secret", "url", "name", "scopes", "user", "subjects", "groups", "unknown")
_GROUP_KEYS = ("claim", "map", "hold")
_STEP_UP_KEYS = ("max_age", "acr")
_REFUSE = "refuse"
_UNKNOWN = (_REFUSE, Role.MEMBER.value, Role.NONE.value)
_HOLD_S_MIN, _HOLD_S_MAX = 300, 30 * 86_400
_MAX_AGE_S_MIN = 30


def read_sign_in(reader: Reader, node: Node, folder: Path) -> SignIn | None:
    """The provider; None for ``none``: people come in by links alone. Relative files stand in ``folder``."""
    if node.value == OFF:
        return None
    fields = reader.table(node, "`sign_in`", _KEYS, required=("issuer", "client_id", "url"))
    secret = (
        read_secret(reader, fields["client_secret"], "client_secret", folder) if "client_secret" in fields else None
    )
    claim, groups, hold_s = _groups(reader, fields["groups"]) if "groups" in fields else ("", {}, HOLD_S)
    unknown = reader.choice(fields["unknown"], "`unknown`", _UNKNOWN, _REFUSE) if "unknown" in fields else _REFUSE
    return SignIn(
        issuer=_place(reader, fields, "issuer"),
        client_id=_text(reader, fields, "client_id", ""),
        url=_place(reader, fields, "url").rstrip("/"),
        name=_text(reader, fields, "name", ""),
        secret=secret.to_json() if secret is not None else {},
        scopes=_scopes(reader, fields["scopes"]) if "scopes" in fields else SCOPES,
        user_claim=_text(reader, fields, "user", USER_CLAIM),
        subjects=_subjects(reader, fields["subjects"]) if "subjects" in fields else {},
        groups_claim=claim,
        groups=groups,
        hold_s=hold_s,
        create=None if unknown == _REFUSE else Role(unknown),
    )


def read_step_up(reader: Reader, node: Node) -> StepUp:
    """What an environment asks of the sign-in of whoever approves there."""
    fields = reader.table(node, "`step_up`", _STEP_UP_KEYS)
    if node.kind is Kind.MAP and not fields:
        reader.add(node, Finding.WRONG_VALUE, "`step_up` asks for nothing", "add max_age: 5m, or acr: CLASS")
    age_s = None
    if "max_age" in fields:
        age_s = reader.duration_s(fields["max_age"], "`max_age`", minimum=_MAX_AGE_S_MIN, default=_MAX_AGE_S_MIN)
    acr: tuple[str, ...] = ()
    if "acr" in fields:
        one = fields["acr"].kind is Kind.SCALAR
        acr = (
            (_word(reader, fields["acr"], "`acr`"),)
            if one
            else tuple(_word(reader, each, "an element of `acr`") for each in reader.sequence(fields["acr"], "`acr`"))
        )
    return StepUp(age_s, tuple(dict.fromkeys(acr)))


def _place(reader: Reader, fields: Mapping[str, Node], key: str) -> str:
    """A URL whose answers nobody on the way can change."""
    text = _text(reader, fields, key, "")
    if text and (not is_secure(text) or "?" in text):
        remedy = "write https://HOST, or http for this machine alone"
        reader.add(fields[key], Finding.WRONG_VALUE, f"`{key}` is no address that can be trusted", remedy)
    return text


def _text(reader: Reader, fields: Mapping[str, Node], key: str, default: str) -> str:
    return reader.text(fields[key], f"`{key}`", late=False) if key in fields else default


def _word(reader: Reader, node: Node, what: str) -> str:
    """A word as it goes into a list of words with blanks between them."""
    text = reader.text(node, what, late=False)
    if text and not (text.isascii() and text.isprintable() and " " not in text and len(text) <= 200):
        reader.add(node, Finding.WRONG_VALUE, f"{what} is not one word", "write it as the provider does")
    return text


def _scopes(reader: Reader, node: Node) -> tuple[str, ...]:
    found = [_word(reader, each, "a scope") for each in reader.sequence(node, "`scopes`")]
    if "openid" not in found:
        reader.add(node, Finding.WRONG_VALUE, "`scopes` lacks `openid`", "add it: without it nobody says who signs in")
    return tuple(dict.fromkeys(found))


def _subjects(reader: Reader, node: Node) -> dict[str, str]:
    made: dict[str, str] = {}
    for user, child in reader.mapping(node, "`subjects`").items():
        if not USER_NAME.fullmatch(user):
            reader.add(node.key_at(user), Finding.WRONG_VALUE, f"`{user[:60]}` is no name for a user", "name a user")
        subject = reader.text(child, f"the subject of `{user[:60]}`", late=False)
        if subject and subject in made.values():
            reader.add(child, Finding.WRONG_VALUE, "two users are one subject", "delete one: a person is one user")
        made[user] = subject
    return made


def _groups(reader: Reader, node: Node) -> tuple[str, dict[str, str], int]:
    fields = reader.table(node, "`groups`", _GROUP_KEYS, required=("claim", "map"))
    made: dict[str, str] = {}
    for theirs, child in reader.mapping(fields["map"], "`map`").items() if "map" in fields else ():
        made[theirs] = reader.text(child, "a group here", late=False)
        if made[theirs] and not GROUP_NAME.fullmatch(made[theirs]):
            reader.add(child, Finding.WRONG_VALUE, f"`{made[theirs][:60]}` is no name for a group", "name a group")
    hold_s = HOLD_S
    if "hold" in fields:
        hold_s = reader.duration_s(fields["hold"], "`hold`", minimum=_HOLD_S_MIN, default=HOLD_S)
        if hold_s > _HOLD_S_MAX:
            reader.add(fields["hold"], Finding.WRONG_VALUE, "`hold` is over 30 days", "give at most 720h")
    return _text(reader, fields, "claim", ""), made, hold_s
