"""``anchors.yaml``: what it declares, and every mistake in it at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from mandamus.audit.anchor_file import BRANCH, EVERY_S, Declared, read
from mandamus.kernel.errors import Code, MandamusError

HOME = Path("/home/of")


def test_what_is_declared() -> None:
    """Paths are relative to the home; what is left out has a default."""
    text = b"""
anchors:
  notary: {kind: git, path: anchors.git}
  vault: {kind: folder, path: /mnt/vault, every: 10m}
  time: {kind: rfc3161, path: stamps, url: "https://tsa.example.com/tsr", roots: tsa.pem}
"""
    assert read(text, "anchors.yaml", HOME) == (
        Declared("notary", "git", HOME / "anchors.git", EVERY_S, BRANCH, "", HOME),
        Declared("vault", "folder", Path("/mnt/vault"), 600, "", "", HOME),
        Declared("time", "rfc3161", HOME / "stamps", EVERY_S, "", "https://tsa.example.com/tsr", HOME / "tsa.pem"),
    )


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "anchors: [a]",
        "anchors: {a: {path: b}}",
        "anchors: {a: {kind: tape, path: b}}",
        "anchors: {a: {kind: folder}}",
        "anchors: {a: {kind: folder, path: b, url: 'https://c'}}",
        "anchors: {a: {kind: rfc3161, path: b, url: 'ftp://c', roots: d}}",
        "anchors: {a: {kind: rfc3161, path: b, url: 'https://c'}}",
        "anchors: {a: {kind: git, path: b, branch: --force}}",
        "anchors: {a: {kind: git, path: b, branch: a..b}}",
        "anchors: {a: {kind: git, path: b, branch: 'a:b'}}",
        "anchors: {a: {kind: folder, path: b, every: soon}}",
        "anchors: {A B: {kind: folder, path: b}}",
        "surprise: 1",
    ],
)
def test_what_is_wrong_is_told(text: str) -> None:
    """Nothing is guessed and nothing is passed over."""
    with pytest.raises(MandamusError) as error:
        read(text.encode(), "anchors.yaml", HOME)
    assert error.value.code is Code.DOCUMENT_INVALID


def test_every_mistake_at_once() -> None:
    """One look is enough."""
    with pytest.raises(MandamusError) as error:
        read(b"anchors:\n  a: {kind: tape}\n  b: {kind: folder}\n", "anchors.yaml", HOME)
    assert "anchors.yaml:2:" in error.value.message or len(error.value.context["problems"]) >= 2  # type: ignore[arg-type]
