"""``mandamus access``"""

from __future__ import annotations

from typing import Any

import click

from mandamus.cli.session import Session, common, common_with, pass_session
from mandamus.kernel.errors import Exit


@click.group("access")
@common
def command() -> None:
    """Review who may do what, and who may approve what.

    \b
    Example:
      mandamus access review
      mandamus access review --output csv > review.csv
    """  # noqa: D301 - \b keeps click from joining the lines


@command.command("review")
@common_with("csv")
@pass_session
def review(session: Session) -> Exit:
    """Show who may do what where, who may approve what, through which role and group, and since when.

    For the owner and auditors; that it was read is recorded.

    \b
    Example:
      mandamus access review --output csv > review.csv
    """  # noqa: D301 - \b keeps click from joining the lines
    with session.house() as house:
        found = house.access_review.review(house.who)
        if session.output == "csv":
            session.screen.data(found.to_csv().rstrip("\r\n"))
            return Exit.OK
        document = found.to_json()
    if session.wants_json:
        session.screen.json(document)
    else:
        rows = [_may(each) for each in document["permissions"]]
        session.screen.table(("USER", "ROLE", "WHERE", "WHEN", "THROUGH", "SINCE"), rows)
        if document["approvers"]:
            session.screen.data("")
            rows = [_approver(each) for each in document["approvers"]]
            session.screen.table(("ENVIRONMENT", "ASKED", "BY", "MAY APPROVE", "SINCE"), rows)
    return Exit.OK


def _may(each: dict[str, Any]) -> tuple[str, ...]:
    names = (("projects", each["projects"]), ("environments", each["environments"]))
    where = "; ".join(f"{what} {', '.join(some) or 'none'}" for what, some in names if some is not None) or "everywhere"
    when = " ".join(filter(None, (each["when"], f"until {each['until']}" if each["until"] else ""))) or "always"
    through = each["through"] + (f", group {each['group']}" if each["group"] else "")
    return each["user"], each["role"], where, when, through, each["since"] or "before it was kept"


def _approver(each: dict[str, Any]) -> tuple[str, ...]:
    asked = f"{each['count']} of {each['group'] or 'anybody'}"
    who = each["user"] if each["may_decide"] else f"{each['user']} (may not decide)"
    return each["environment"], asked, each["asked_by"], who, each["since"] or "before it was kept"
