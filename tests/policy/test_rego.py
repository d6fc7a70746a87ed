"""Which Rego a file is written in, and what is said of a file that is right in none."""

from __future__ import annotations

import pytest

from mandamus.policy import rego
from mandamus.policy.model import RegoVersion

V0, V1, AUTO = RegoVersion.V0, RegoVersion.V1, RegoVersion.AUTO


@pytest.fixture(scope="module")
def parses(pool):
    """OPA's v1 parser."""
    with pool.session() as session:
        yield lambda path, text: session.load("", b"", [(path, text)])


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("package a\np { true }", V0),
        ("package a\np[x] { x := 1 }", V0),
        ('package a\np["x"]', V0),
        ("package a\nimport future.keywords.in\np[x] { some x in [1] }", V0),
        ("package a\nimport future.keywords\np if { true }\nq[x] { x := 1 }", V0),
        ("package a\np = any([true])", V0),
        ("package a\nimport future.keywords.if\np if re_match(`a`, `a`)", V0),
        ("package a\nimport data.x\nimport data.x\np := x", V0),
        ("package a\nimport future.keywords.if\nf(input) := 1 if input.x", V0),
        ("package a\np if true", V1),
        ("package a\np contains 1", V1),
        ("package a\np := 1", V1),
        ("package a\nimport future.keywords\np contains x if some x in [1]", V1),
        ("package a\nimport rego.v1\np if re_match(`a`, `a`)", V1),
        ("package a\np if any([true])", V1),
        ("package a\ninput := 1", V1),
    ],
)
def test_the_version_is_found_per_file(parses, text, version):
    """What is right v1 is v1, what only v0 takes is v0; the text of a v1 file is not touched."""
    made = rego.translate("m.rego", text, AUTO, parses)
    assert (made.version, made.refusal) == (version, None)
    assert (made.text == text) == (version is V1)
    assert parses("m.rego", made.text) is None


@pytest.mark.parametrize(
    ("text", "version", "line"),
    [
        ("package a\nimport rego.v1\np { true }", V1, 3),
        ("package a\ndeny contains 1 if true\n\np { true }", V1, 4),
        ("package a\np if {", V1, 2),
        ("package a\nq { true }\np[x] { x := 0 0 }", V0, 3),
        ("package a\np { else }", V0, 2),
        ("package a\np { true }\nin = 1", V0, 3),
        ("package a\ncontains[x] { x := 1 }", V0, 2),
    ],
)
def test_a_file_that_is_right_in_no_version_is_refused(parses, text, version, line):
    """The refusal is that of the version it looks like, with the file and the line."""
    made = rego.translate("m.rego", text, AUTO, parses)
    assert (made.version, made.text) == (version, text)
    assert made.refusal is not None
    assert f"m.rego:{line}: rego_parse_error" in made.refusal.message


def test_a_refusal_shows_the_original(parses):
    """The snippet is the user's line, and the caret stands where the fault stands in it."""
    made = rego.translate("m.rego", "package a\nq { true }\np[x] { x := 0 0 }", AUTO, parses)
    assert made.refusal is not None
    assert made.refusal.message.split("\n")[-2:] == ["\tp[x] { x := 0 0 }", "\t              ^"]


def test_a_version_that_is_given_is_taken(parses):
    """A manifest's word goes before what the text looks like."""
    old, new = "package a\np { true }", "package a\np if { true }"
    assert rego.translate("m.rego", old, V1, parses).refusal is not None
    assert rego.translate("m.rego", old, V0, parses) == rego.Translated(new, V0)
    assert rego.translate("m.rego", new, V0, parses) == rego.Translated(new, V0)
    assert rego.translate("m.rego", new, V1, parses) == rego.Translated(new, V1)
