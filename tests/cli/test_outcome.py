"""What commands say of a run, to whomever."""

from __future__ import annotations

from dataclasses import replace

from mandamus.cli.outcome import asked
from mandamus.kernel.ids import RunId


def test_whoever_may_not_read_who_there_is_is_told_of_a_run_that_waits(tenants):
    """Of groups and counts, without the names of people: a role need not have both rights."""
    told = {}
    for user in ("viewer", "member"):
        house = replace(tenants.house, who=tenants.house.identity.active(user))
        (found,) = asked(house, house.runs.show(house.who, RunId(tenants.theirs["run"])))
        told[user] = found
    assert told["viewer"].people == ()
    assert {"tom", "tess"} <= set(told["member"].people)
    assert replace(told["viewer"], people=told["member"].people) == told["member"]
