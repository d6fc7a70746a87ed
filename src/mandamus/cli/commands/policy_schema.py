"""``mandamus policy schema``"""

from __future__ import annotations

import json

import click

from mandamus.cli.session import Session, common, pass_session
from mandamus.kernel.errors import Exit
from mandamus.policy import schema
from mandamus.policy.model import Point


@click.command("schema")
@click.argument("point", type=click.Choice([point.value for point in Point]))
@common
@pass_session
def command(session: Session, point: str) -> Exit:
    """Print the JSON Schema (2020-12) of what policy is asked at a decision point; needs no home.

    \b
    Example:
      mandamus policy schema plan
    """  # noqa: D301 - \b keeps click from joining the lines
    found = schema.of_point(point)
    if session.wants_json:
        session.screen.json(found)
    else:
        session.screen.data(json.dumps(found, indent=2))
    return Exit.OK
