from __future__ import annotations

import re
import time

import pytest

from mandamus.cli.progress import Progress
from mandamus.cli.render import Screen
from mandamus.kernel.ids import RunId
from mandamus.runs.model import Notice

RUN = RunId("run_x")
STORY = (
    Notice(RUN, "bucket", "planning"),
    Notice(RUN, "bucket", "pending", "terraform: refreshing"),
    Notice(RUN, "bucket", "applying"),
    Notice(RUN, "bucket", "planned", "terraform_data.bucket: creating"),
    Notice(RUN, "bucket", "succeeded"),
    Notice(RUN, "", "succeeded"),
)


@pytest.fixture
def played(terminal, clock):
    """Plays notices to a progress display; gives what it wrote."""

    def play(notices, *, tty: bool = False, hold_s: float = 0.0, environ=None) -> str:
        err = terminal(tty=tty)
        with Progress(Screen(terminal(), err, environ or {}), clock.monotonic_s) as progress:
            for notice in notices:
                clock.advance(1)
                progress(notice)
                time.sleep(hold_s)
        return err.text()

    return play


def test_logs_get_a_line_per_change(played):
    """Where nobody watches live, each change of a step's state is one plain line; a tool's own talk is none."""
    assert played(STORY) == ("   1.0s  bucket: planning\n   3.0s  bucket: applying\n   5.0s  bucket: succeeded\n")


def test_a_terminal_shows_that_it_goes_on(played):
    """On a terminal a line moves in place, with what the tool last said, and is gone when all is over."""
    text = played(STORY, tty=True, hold_s=0.25)
    assert "terraform_data.bucket: creating" in text
    assert "\r\x1b[K" in text
    lasting = [re.sub("\x1b\\[[0-9;]*[mK]", "", part).split("\r")[-1] for part in text.split("\n")]
    assert lasting == ["   1.0s  bucket: planning", "   3.0s  bucket: applying", "   5.0s  bucket: succeeded", ""]


def test_a_dumb_terminal_is_like_a_log(played):
    """Nothing is redrawn where that cannot be done."""
    assert "\x1b" not in played(STORY, tty=True, hold_s=0.15, environ={"TERM": "dumb"})


@pytest.mark.parametrize("tty", [False, True])
def test_what_tools_say_is_made_safe(played, tty):
    """Talk of tools and messages of errors reach the terminal without what it would act on, on one line each."""
    evil = "x\x1b[2J\x1b]0;t\x07\u202e\r\nnext: mandamus approve me"
    text = played(
        [Notice(RUN, "a", "planning"), Notice(RUN, "a", "pending", evil), Notice(RUN, "a", "failed", evil)], tty=tty
    )
    assert not re.search("\x1b\\[2J|\x1b\\]|\u202e|\x07", text)
    assert not any(line.startswith("next:") for line in text.splitlines())


def test_a_denial_names_its_rule(played):
    """The line of a denied step says which rule, not only that there was one."""
    text = played([Notice(RUN, "a", "denied", "denied by policy\nr.rego:3: mandamus.plan.deny: no")])
    assert text == "   1.0s  a: denied  denied by policy: r.rego:3: mandamus.plan.deny: no\n"
