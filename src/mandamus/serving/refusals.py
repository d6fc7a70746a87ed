"""What a caller may not do stands in the log, whichever door they asked at."""

from __future__ import annotations

from starlette.requests import Request

from mandamus.kernel.access import is_refusal
from mandamus.kernel.errors import MandamusError


def record(request: Request, error: MandamusError) -> None:
    """Write that whoever asks was refused; of nobody, and of other errors, nothing is written."""
    who = getattr(request.state, "who", None)
    if who is not None and is_refusal(error):
        request.app.state.house.record_refused(who, error)
