"""What a set reads of its input: never less than it does, and nothing at all when that cannot be said."""

from __future__ import annotations

import pytest

from mandamus.policy.backtest_reads import Projection, projection
from mandamus.policy.backtest_work import reads


@pytest.fixture
def paths(pool):
    """The paths that a text reads, None when it can be anything."""

    def found(text):
        trees = pool.inspect({"a.rego": f"package a\n\n{text}\n"}, b"").trees
        assert trees, "it does not parse"
        made = projection(trees.values())
        return None if made is None else {".".join(path) for path in made.paths}

    return found


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("p if input.a.b == 1", {"a.b"}),
        ('p if input["a b"].c[0].d == 1', {"a b.c"}),
        ("p if input.a[input.b.c].d == 1", {"a", "b.c"}),
        ("p contains x if some x in input.list", {"list"}),
        ("p if { x := input.a; x.b == 1 }", {"a"}),
        ("f(x) := x.y\n\np if f(input.a) == 1", {"a"}),
        ("p if { q with input as input.native }\n\nq if input.x", {"native", "x"}),
        ("p if { q with input as {'k': input.a.b} }\n\nq if input.k".replace("'", '"'), {"a.b", "k"}),
        ("p if { q with input.x as input.y }\n\nq if input.x", {"x", "y"}),
        ("import input.a.b as c\n\np if c.d == 1", {"a.b"}),
        ("p if every x in input.a { x > input.b }", {"a", "b"}),
        ("p := {k: v | some k, v in input.a}", {"a"}),
        ("default p := false", set()),
        ("p if not input.a", {"a"}),
        ("p[input.a] := input.b if true", {"a", "b"}),
    ],
)
def test_the_constant_head_of_every_mention(paths, text, wanted):
    """Every mention counts wherever it stands, up to where its path is computed."""
    assert paths(text) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "p if input[x] == 1",
        "p if count(input) == 1",
        "p if { x := input; x.a == 1 }",
        "p contains v if walk(input, [_, v])",
        "f(x) := x.y\n\np if f(input) == 1",
        "import input as i\n\np if i.a == 1",
        "p if { q with input as object.union(input, {}) }\n\nq if input.k",
        "p if some k, v in input",
    ],
)
def test_the_whole_input_is_no_projection(paths, text):
    """A computed key at the top, or the input handed on as a whole."""
    assert paths(text) is None


def test_a_bare_variable_is_the_whole_input():
    """However a parser writes the mention."""
    assert projection([{"rules": [{"body": [{"terms": {"type": "var", "value": "input"}}]}]}]) is None


def test_the_query_reads_too(made, pool):
    """The point is read by the query of every set, whatever its rules read."""
    found = reads(pool, made({"plan.rego": "package mandamus.plan\n\ndeny contains 1 if input.a.b\n"}))
    assert found is not None
    assert set(found.paths) == {("a", "b"), ("point",)}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b'{"a":{"b":1}}', b'{"a":{"b":true}}'),
        (b'{"a":{"b":1}}', b'{"a":{"b":"1"}}'),
        (b'{"a":{"b":1.0}}', b'{"a":{"b":1}}'),
        (b'{"a":{"b":1.0}}', b'{"a":{"b":1.00}}'),
        (b'{"a":{"b":1.0}}', b'{"a":{"b":"Decimal(\'1.0\')"}}'),
        (b'{"a":{"b":null}}', b'{"a":{}}'),
        (b'{"a":{"b":null}}', b'{"a":{"b":false}}'),
        (b'{"a":{}}', b"{}"),
        (b'{"a":[{"b":1}]}', b'{"a":{"b":1}}'),
        (b'{"a":"Ellipsis"}', b"{}"),
        (b'{"a":{"b":[1,2]}}', b'{"a":{"b":[2,1]}}'),
        (b'{"a":{"b":9007199254740993}}', b'{"a":{"b":9007199254740992}}'),
        (b'{"a":{"b":"x"},"c":"y"}', b'{"a":{"b":"y"},"c":"x"}'),
    ],
)
def test_what_differs_where_it_is_read_has_another_key(one, other):
    """Types, texts of numbers, null and absence are all told apart."""
    found = Projection([("a", "b"), ("c",)])
    assert found.key(one) != found.key(other)


def test_what_differs_elsewhere_has_the_same_key():
    """Only what is read makes the key; a path that is read whole takes what is read beneath it."""
    found = Projection([("a", "b"), ("c", "d"), ("c",)])
    one, other = b'{"a":{"b":1,"x":1},"c":{"d":1,"e":2},"n":1}', b'{"a":{"b":1},"c":{"d":1,"e":2},"n":2}'
    assert found.key(one) == found.key(other)
    assert found.key(one) != found.key(b'{"a":{"b":1},"c":{"d":1,"e":3},"n":1}')


@pytest.mark.parametrize("data", [b"", b"[1]", b"nonsense", b'{"a":' + b"9" * 5000 + b"}"])
def test_what_cannot_be_read_is_never_taken_for_another(data):
    """No key, so it is always asked about."""
    assert Projection([("a",)]).key(data) is None
