"""``mandamus audit anchor`` and ``audit verify --anchors`` on a home; and a home whose log is witnessed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from mandamus.bootstrap.house import open_house
from mandamus.kernel.errors import Code, MandamusError
from mandamus.settings import Settings


def test_a_home_that_was_set_back_as_a_whole(shell: Any, tmp_path: Path) -> None:
    """What a command put into a folder elsewhere shows the older copy of the home for what it is."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    assert "no anchors" in shell("audit", "anchor").err
    (shell.home / "anchors.yaml").write_text(f"anchors: {{vault: {{kind: folder, path: {elsewhere}}}}}\n")
    shutil.copytree(shell.home, tmp_path / "older")
    assert shell("audit", "verify").code == 0
    told = shell("audit", "anchor", "--now")
    assert told.code == 0
    assert "anchored" in told.out
    assert "not due" in shell("audit", "anchor").out
    assert shell("audit", "verify", "--anchors").code == 0
    shutil.rmtree(shell.home)
    shutil.copytree(tmp_path / "older", shell.home)
    assert shell("audit", "verify").code == 0
    for _ in range(2):
        told = shell("audit", "verify", "--anchors")
        assert told.code == 10
        assert str(elsewhere) in told.out


def test_an_anchor_that_fails(shell: Any) -> None:
    """The exit code says so, and a script gets the error."""
    (shell.home / "anchors.yaml").write_text("anchors: {gone: {kind: folder, path: /nonexistent/place}}\n")
    told = shell("audit", "anchor", "--output", "json")
    assert told.code == 1
    assert told.json[0]["error"]["code"] == "audit_unavailable"
    assert shell("audit", "verify", "--anchors").code == 11


def test_witnesses_that_are_required_must_be_named(shell: Any) -> None:
    """A home that needs witnesses and names none does not open; with a quorum of nobody it does."""
    settings = Settings(witness_mode="require")
    with pytest.raises(MandamusError) as error:
        open_house(settings, shell.environ, shell.home, None)
    assert error.value.code is Code.HOME_INVALID
    (shell.home / "witnesses").write_text("quorum none\n")
    open_house(settings, shell.environ, shell.home, None).close()
    (shell.home / "witnesses").write_text("quorum somebody\n")
    with pytest.raises(MandamusError) as error:
        open_house(settings, shell.environ, shell.home, None)
    assert error.value.code is Code.VALUE_INVALID
