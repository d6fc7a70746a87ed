"""What frames every page: the theme that its visitor chose, and the keys."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.responses import RedirectResponse, Response

from mandamus.kernel.access import Permission
from mandamus.web.door import Pages, Visit
from mandamus.web.render import THEMES

KEPT_S = 365 * 24 * 3600

pages = Pages()


@pages.get("/keys", Permission.SYSTEM_READ)
def show_keys(visit: Visit) -> Response:
    """What each key does; alone for the dialog of a page."""
    return visit.part("_keys.html") if "part" in visit.query else visit.page("keys.html")


@pages.post("/theme", Permission.SYSTEM_READ)
def choose_theme(visit: Visit) -> Response:
    """Keep the theme with the browser, or leave it to its system again; then back to where it was chosen."""
    found = RedirectResponse(_own(visit.form.get("back", "/")), 303)
    state = visit.request.app.state
    name, chosen = f"{state.cookie}-theme", visit.form.get("theme", "")
    if chosen in THEMES:
        found.set_cookie(name, chosen, KEPT_S, path="/", secure=state.secure, httponly=True, samesite="strict")
    else:
        found.delete_cookie(name, path="/", secure=state.secure, httponly=True, samesite="strict")
    return found


def _own(address: str) -> str:
    """An address of this console, or its first page: a browser reads two slashes as the start of another host's."""
    parts = urlsplit(address)
    own = not parts.scheme and not parts.netloc and address.startswith("/") and "\\" not in address
    return address if own and address.isprintable() else "/"
