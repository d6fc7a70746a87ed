"""Step up: where an environment asks for it, a yes counts only of whoever has just shown who they are."""

from __future__ import annotations

from mandamus.catalog.model import Environment
from mandamus.kernel.access import Subject
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import RunId


def check(environment: Environment, who: Subject, run: RunId, step: str, now_us: int) -> None:
    """Raise ``approval_refused`` for a yes of somebody whose sign-in is not what the environment asks for.

    A no needs none of it: it lets nothing through.
    """
    missing = missing_of(environment, who, now_us)
    if not missing:
        return
    by_token = who.signed_in is None and who.authn.startswith("token")
    raise MandamusError(
        Code.APPROVAL_REFUSED,
        f"{environment.name} asks for a sign-in that is {environment.step_up}: "
        + ("a token is no sign-in" if by_token else missing),
        remedy=f"open /runs/{run}/steps/{step}/decide in the console and sign in again there",
        context={"step_up": True},
    )


def missing_of(environment: Environment, who: Subject, now_us: int) -> str:
    """What the sign-in of somebody lacks for their yes to count there, in words; empty when it lacks nothing."""
    return "" if environment.step_up is None else environment.step_up.missing(who.signed_in, now_us)


def proof_of(who: Subject) -> dict[str, object]:
    """When and how somebody showed who they are, as it is recorded with what they said; nothing where nobody asked."""
    return {} if who.signed_in is None else {"signed_in": {"at_us": who.signed_in.at_us, "acr": who.signed_in.acr}}
