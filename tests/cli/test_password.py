"""The owner sets and removes a password from the command line; it is never a word of it."""

from __future__ import annotations

import io
import sys

import pytest

from mandamus.kernel.errors import Exit

GOOD = "gravel-otter-59-lantern-quiet"


@pytest.fixture
def typed(monkeypatch):
    """What stands on standard input."""
    return lambda text: monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def test_a_password_is_set_and_removed(shell, typed):
    """From standard input, without the line's end; nothing of it is printed, and others may not set it."""
    typed(f"{GOOD}\n")
    told = shell("password", "set", "--stdin")
    assert told.code == Exit.OK, told.err
    assert GOOD not in told.out + told.err
    house = shell.handed().open_house(shell.home, None, "")
    try:
        assert house.passwords.open(GOOD).session.authn == "password"
    finally:
        house.close()
    typed(GOOD)
    assert shell("password", "set", "--stdin", as_="ada").code == Exit.FAILED
    assert shell("password", "remove", "--output", "json").json == {"password": "removed"}
    assert "no password" in shell("password", "remove").err


def test_a_weak_password_is_refused(shell, typed):
    """With the reason, and without a word of it."""
    typed("hunter2-hunter2-hunter2")
    told = shell("password", "set", "--stdin")
    assert told.code == Exit.USAGE
    assert "too easily guessed" in told.err
    assert "hunter2" not in told.err
    assert shell("password", "set", GOOD).code == Exit.USAGE
