"""What frames every page: the look that its visitor chose, and the keys."""

from __future__ import annotations

from starlette.responses import RedirectResponse, Response

from mandamus.kernel.access import Permission
from mandamus.web.door import Pages, Visit
from mandamus.web.render import CHOICES, choice_cookie, chosen

KEPT_S = 365 * 24 * 3600

pages = Pages()


@pages.get("/keys", Permission.SYSTEM_READ)
def show_keys(visit: Visit) -> Response:
    """What each key does; alone for the dialog of a page."""
    if "part" in visit.query:
        return visit.part("_keys.html", part=True, keys=chosen(visit.request, "keys"))
    return visit.page("keys.html", part=False)


@pages.post("/look", Permission.SYSTEM_READ)
def choose(visit: Visit) -> Response:
    """Keep what was chosen with the browser, or forget it for what is usual; then back to where it was chosen."""
    found = RedirectResponse(own_address(visit.form.get("back", "/")), 303)
    secure = visit.request.app.state.secure
    for name, values in CHOICES.items():
        cookie, said = choice_cookie(visit.request, name), visit.form.get(name)
        if said in values:
            found.set_cookie(cookie, said, KEPT_S, path="/", secure=secure, httponly=True, samesite="strict")
        elif said is not None:
            found.delete_cookie(cookie, path="/", secure=secure, httponly=True, samesite="strict")
    return found


def own_address(address: str) -> str:
    """An address of this console, or its first page: two slashes or more begin another host's (WHATWG URL)."""
    own = address.startswith("/") and not address.startswith("//") and "\\" not in address
    return address if own and address.isprintable() else "/"
