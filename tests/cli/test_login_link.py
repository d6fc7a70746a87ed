"""The command that makes a link into the console."""

from __future__ import annotations

import re

from mandamus.kernel.errors import Exit


def test_a_link_is_data(shell):
    """It alone is on stdout; where the server answers can be said."""
    told = shell("login-link")
    assert re.fullmatch(r"http://127\.0\.0\.1:8400/sign-in\?link=[A-Za-z0-9_-]{43}\n", told.out)
    assert "10 minutes" in told.err
    found = shell("login-link", "--url", "https://changes.example.com/", "--output", "json").json
    assert found["url"].startswith("https://changes.example.com/sign-in?link=")


def test_nobody_is_let_in_who_is_nobody(shell):
    """A link for a user that there is not is refused, with what to do."""
    told = shell("login-link", "nobody")
    assert told.code == Exit.FAILED
    assert "there is no active user nobody" in told.err
