"""The visitor's own tokens: list them, make one whose secret is shown this once, and end one."""

from __future__ import annotations

from starlette.responses import Response

from mandamus.identity.model import DAYS, DAYS_MAX, Token
from mandamus.identity.tokens import Minted
from mandamus.kernel import canonical
from mandamus.kernel.access import Permission
from mandamus.kernel.errors import Code, MandamusError
from mandamus.serving.refusals import record
from mandamus.web.door import Pages, Visit, see

pages = Pages()


@pages.get("/settings/tokens", Permission.TOKEN_WRITE)
def list_tokens(visit: Visit) -> Response:
    """The visitor's tokens, newest first, and the form for one more."""
    return _page(visit)


@pages.post("/settings/tokens", Permission.TOKEN_WRITE)
def create_token(visit: Visit) -> Response:
    """Make a token, once however often the form is sent: its secret is in this answer and nowhere else."""
    form = visit.form
    name, days, key = form.get("name", "").strip(), form.get("days", ""), form.get("key", "")
    chosen = frozenset(each for each in visit.who.permissions if f"may.{each.value}" in form)
    if not key or len(key) > 64:
        raise MandamusError(Code.VALUE_INVALID, "this form is not whole", remedy="open the page again and use its form")
    try:
        made = _once(visit, key, name, int(days) if days.isascii() and days.isdecimal() else 0, chosen)
    except MandamusError as error:
        if error.code not in {Code.VALUE_INVALID, Code.FORBIDDEN, Code.CONFLICT}:
            raise
        record(visit.request, error)
        return _page(visit, error=error, name=name, days=days, chosen=chosen)
    return _page(visit, minted=made)


@pages.get("/settings/tokens/{token}/revoke", Permission.TOKEN_WRITE)
def ask_revoke(visit: Visit) -> Response:
    """Say what ending a token means, before it is done."""
    return visit.page("end.html", what="token", of=_own(visit, visit.path["token"]))


@pages.post("/settings/tokens/{token}/revoke", Permission.TOKEN_WRITE)
def revoke(visit: Visit) -> Response:
    """End a token at once."""
    visit.house.tokens.revoke(visit.who, _own(visit, visit.path["token"]).id)
    return see("settings", "tokens")


def _once(visit: Visit, key: str, name: str, days: int, chosen: frozenset[Permission]) -> Minted:
    """The token; raises ``conflict`` when the form was sent before, for its secret is kept nowhere."""
    requests, user = visit.house.requests, visit.who.user
    asked = canonical.digest_of(["token", name, days, sorted(each.value for each in chosen)])
    if requests.begin(user, key, asked) is not None:
        raise MandamusError(
            Code.CONFLICT,
            "this form was sent before: the token was made then, and its secret was shown then",
            remedy="if you have not kept it, end that token below and make a new one",
        )
    try:
        made = visit.house.tokens.create(visit.who, name, days=days, permissions=chosen or None)
    except Exception:
        # Nothing came of it: the same form may be sent again.
        requests.forget(user, key)
        raise
    requests.finish(user, key, made.token.id.encode())
    return made


def _own(visit: Visit, token_id: str) -> Token:
    for each in _tokens(visit):
        if each.id == token_id:
            return each
    raise MandamusError(Code.NOT_FOUND, "there is no such token of yours", remedy="go back to the list of them")


def _tokens(visit: Visit) -> list[Token]:
    return [each for each in visit.house.tokens.list(visit.who) if each.user == visit.who.user]


def _page(
    visit: Visit,
    *,
    minted: Minted | None = None,
    error: MandamusError | None = None,
    name: str = "",
    days: str = str(DAYS),
    chosen: frozenset[Permission] = frozenset(),
) -> Response:
    return visit.page(
        "tokens.html",
        status=200 if error is None else error.code.http_status,
        tokens=_tokens(visit),
        minted=minted,
        error=error,
        name=name,
        days=days,
        days_max=DAYS_MAX,
        permissions=sorted(each.value for each in visit.who.permissions),
        chosen={each.value for each in chosen},
        key=visit.renderer.key(),
        now_us=visit.house.clock.now_us(),
    )
