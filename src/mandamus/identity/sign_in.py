"""How people sign in by an OpenID Connect provider, as it is declared, and what its word comes to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mandamus.identity.model import RESERVED, USER_NAME, Role
from mandamus.kernel.access import Permission, SignedIn

FORMAT = "sign-in/1"
AUTHN = "oidc"
"""How the events of a session tell that its person signed in by the provider."""
SCOPES = ("openid", "profile", "email")
USER_CLAIM = "preferred_username"
EMAIL = "email"
HOLD_S = 12 * 3_600
AHEAD_US = 60 * 1_000_000
"""So far the clock of a provider may be before ours: what is said of a later moment would stay fresh for ever."""
CALLBACK = "/sign-in/callback"


@dataclass(frozen=True)
class SignIn:
    """One provider.

    ``issuer`` is its identifier, ``client_id`` what it calls this console, ``secret`` where the client's secret is
    (``{"env": NAME}`` or ``{"file": PATH}``), empty for a public client. ``url`` is where people find this console.
    ``user_claim`` names the claim that is a person's user name at their first sign-in, ``subjects`` say by user which
    subject somebody is, whatever that claim says. ``groups`` gives our group of each of the provider's groups that
    counts, out of the claim ``groups_claim``; it holds for ``hold_s`` after a sign-in. ``create`` is the role that
    somebody unknown is made a user with, None to refuse them.
    """

    issuer: str
    client_id: str
    url: str
    name: str = ""
    secret: Mapping[str, str] = field(default_factory=dict)
    scopes: tuple[str, ...] = SCOPES
    user_claim: str = USER_CLAIM
    subjects: Mapping[str, str] = field(default_factory=dict)
    groups_claim: str = ""
    groups: Mapping[str, str] = field(default_factory=dict)
    hold_s: int = HOLD_S
    create: Role | None = None

    @property
    def redirect_uri(self) -> str:
        """Where the provider sends people back to, as it was told when this console was registered there."""
        return self.url + CALLBACK

    @property
    def shown(self) -> str:
        """What people call the provider."""
        return self.name or self.issuer.partition("://")[2].partition("/")[0]

    def to_json(self) -> dict[str, Any]:
        """As stored; where the secret is, never what it is."""
        create = None if self.create is None else self.create.value
        made = {**vars(self), "format": FORMAT, "scopes": list(self.scopes), "create": create}
        return made | {name: dict(made[name]) for name in ("secret", "subjects", "groups")}


def sign_in_from(value: Mapping[str, Any]) -> SignIn:
    """Rebuild it from what was stored."""
    known = {name: part for name, part in value.items() if name != "format"}
    create = None if known["create"] is None else Role(known["create"])
    return SignIn(**{**known, "scopes": tuple(known["scopes"]), "create": create})


@dataclass(frozen=True)
class StepUp:
    """What somebody's sign-in has to be for their yes to count: not older, and of one of these classes if any is."""

    max_age_s: int | None = None
    acr: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As stored."""
        return {"max_age_s": self.max_age_s, "acr": list(self.acr)}

    def missing(self, found: SignedIn | None, now_us: int) -> str:
        """What a sign-in lacks, in words; empty when it is all that is asked for."""
        if found is None:
            return "you did not sign in by the identity provider in this session"
        if found.at_us - now_us > AHEAD_US:
            return "the identity provider says that you showed it who you are at a moment that has not come yet"
        if self.max_age_s is not None and now_us - found.at_us > self.max_age_s * 1_000_000:
            return f"you showed the identity provider who you are longer than {_told(self.max_age_s)} ago"
        if self.acr and found.acr not in self.acr:
            return f"you signed in as {found.acr or 'no class'}, and {' or '.join(self.acr)} is asked for"
        return ""

    def __str__(self) -> str:
        age = f"not older than {_told(self.max_age_s)}" if self.max_age_s is not None else ""
        acr = f"of the class {' or '.join(self.acr)}" if self.acr else ""
        return " and ".join(part for part in (age, acr) if part)


def step_up_from(value: Mapping[str, Any]) -> StepUp:
    """Rebuild it from what was stored."""
    return StepUp(value["max_age_s"], tuple(value["acr"]))


def _told(seconds: int) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{minutes} minutes" if minutes and not rest else f"{seconds} seconds"


@dataclass(frozen=True)
class Person:
    """Whom the provider says that it has before it, by claims that were verified."""

    subject: str
    name: str
    display_name: str
    email: str
    groups: tuple[str, ...]
    at_us: int | None
    acr: str


@dataclass(frozen=True)
class Device:
    """A device that asked for a token.

    ``name`` is what it calls itself, ``address`` where it asked from, ``permissions`` what it wants, None for all that
    its user may. ``user`` is who decided, and ``authn`` how they had come in.
    """

    id: str
    name: str
    address: str
    permissions: frozenset[Permission] | None
    created_us: int
    expires_us: int
    state: str
    user: str | None = None
    authn: str = ""


def person_of(declared: SignIn, claims: Mapping[str, Any]) -> Person | str:
    """What claims say of a person, or the claim by which nobody can be known: such a sign-in is refused."""
    name = claims.get(declared.user_claim)
    if not isinstance(name, str) or not USER_NAME.fullmatch(name) or name in RESERVED:
        name = ""
    if declared.user_claim == EMAIL and claims.get("email_verified") is not True:
        name = ""
    known = any(subject == claims["sub"] for subject in declared.subjects.values())
    if not name and not known:
        return declared.user_claim
    listed = claims.get(declared.groups_claim) if declared.groups_claim else []
    theirs = [listed] if isinstance(listed, str) else listed
    at_s = claims.get("auth_time")
    has_time = isinstance(at_s, int) and not isinstance(at_s, bool) and 0 < at_s < 1 << 40
    return Person(
        subject=claims["sub"],
        name=name,
        display_name=_text(claims.get("name")),
        email=_text(claims.get(EMAIL)) if claims.get("email_verified") is True else "",
        groups=tuple(sorted({declared.groups[each] for each in theirs or () if each in declared.groups})),
        at_us=at_s * 1_000_000 if has_time and isinstance(at_s, int) else None,
        acr=_text(claims.get("acr")),
    )


def _text(claim: object) -> str:
    return claim if isinstance(claim, str) and len(claim) <= 200 and claim.isprintable() else ""
