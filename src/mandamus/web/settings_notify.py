"""Settings of notifications: who is told of what, what could not be told, and telling it again."""

from __future__ import annotations

from starlette.responses import Response

from mandamus.kernel.access import Permission
from mandamus.kernel.errors import Code, MandamusError
from mandamus.notify.model import Answer
from mandamus.web.door import Pages, Visit, see

LIMIT = 50
DIGITS_MAX = 18

pages = Pages()


@pages.get("/settings/notifications", Permission.NOTIFY_READ)
def list_notifications(visit: Visit) -> Response:
    """Subscriptions and how they stand, and dead letters, newest first."""
    return _page(visit)


@pages.post("/settings/notifications/replay", Permission.NOTIFY_WRITE)
def replay(visit: Visit) -> Response:
    """Have the chosen dead letters sent again, or all of them."""
    form = visit.form
    chosen = [_number(name.removeprefix("letter.")) for name in form if name.startswith("letter.")]
    if not chosen and "all" not in form:
        raise MandamusError(Code.VALUE_INVALID, "no dead letter was chosen", remedy="go back and choose some")
    visit.house.notify.replay(visit.who, None if "all" in form else chosen)
    return see("settings", "notifications")


@pages.post("/settings/notifications/{name}/test", Permission.NOTIFY_WRITE)
def send_test(visit: Visit) -> Response:
    """Send a message of no meaning to a subscription, and show how that ended."""
    name = visit.path["name"]
    return _page(visit, tested=name, answer=visit.house.notify.test(visit.who, name))


def _page(visit: Visit, *, tested: str = "", answer: Answer | None = None) -> Response:
    before = visit.query.get("cursor")
    dead = visit.house.notify.dead(visit.who, before=None if before is None else _number(before), limit=LIMIT + 1)
    return visit.page(
        "notifications.html",
        subscriptions=visit.house.notify.subscriptions(visit.who),
        dead=dead[:LIMIT],
        following=dead[LIMIT - 1].id if len(dead) > LIMIT else None,
        may_write=visit.who.may(Permission.NOTIFY_WRITE),
        tested=tested,
        answer=answer,
    )


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or len(text) > DIGITS_MAX:
        raise MandamusError(Code.VALUE_INVALID, "that is no dead letter", remedy="choose one of the list")
    return int(text)
