"""Where somebody who is signed in lets a device have a token of theirs, or refuses it."""

from __future__ import annotations

from starlette.responses import Response

from mandamus.identity.attempts import account_of
from mandamus.identity.sign_in import Device
from mandamus.kernel.access import Permission
from mandamus.kernel.errors import Code, MandamusError
from mandamus.web.door import Pages, Visit
from mandamus.web.sign_in import COST

pages = Pages()


@pages.get("/device", Permission.TOKEN_WRITE)
def show_device(visit: Visit) -> Response:
    """Ask for the code that the device shows. It is typed, and in no link: nobody can send one to click on."""
    return _page(visit)


@pages.post("/device", Permission.TOKEN_WRITE)
def decide(visit: Visit) -> Response:
    """Show the device that waits with a code; with a verdict, let it in or refuse it."""
    visit.request.app.state.limits.take(f"device {visit.who.user}", COST)
    code, verdict = visit.form.get("code", ""), visit.form.get("verdict", "")
    attempts, account = visit.request.app.state.attempts, account_of(visit.who.user)
    attempts.check("device", account)
    try:
        if verdict in {"grant", "refuse"}:
            found = visit.house.devices.decide(visit.who, code, grant=verdict == "grant")
            return _page(visit, device=found, verdict=verdict)
        return _page(visit, device=visit.house.devices.show(visit.who, code), code=code)
    except MandamusError as error:
        if error.code is not Code.NOT_FOUND:
            raise
        attempts.failed("device", account)
        return _page(visit, error=error)


def _page(
    visit: Visit,
    *,
    device: Device | None = None,
    code: str = "",
    verdict: str = "",
    error: MandamusError | None = None,
) -> Response:
    wanted = None if device is None or device.permissions is None else device.permissions
    return visit.page(
        "device.html",
        status=200 if error is None else error.code.http_status,
        device=device,
        code=code,
        verdict=verdict,
        error=error,
        wanted=None if wanted is None else sorted(each.value for each in wanted & visit.who.permissions),
        denied=[] if wanted is None else sorted(each.value for each in wanted - visit.who.permissions),
    )
