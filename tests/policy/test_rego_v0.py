"""Rego v0 through the rewriter and the real OPA: the answers of v0, on the lines of the original."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest
import yaml

from mandamus.kernel import canonical
from mandamus.policy.rego_v0 import looks_v0, rewrite, rewritten

CASES = yaml.safe_load((Path(__file__).parent / "data" / "rego_v0.yaml").read_text())


def modules(case):
    texts = case.get("modules") or [f"package a\n{case['rego']}"]
    return [(f"m{index}.rego", text) for index, text in enumerate(texts)]


@pytest.fixture(scope="module")
def session(pool):
    with pool.session() as session:
        yield session


def answer(session, texts, case):
    data = canonical.dumps(case["data"]) if "data" in case else b""
    refusal = session.load(case.get("query", "data.a.p"), data, texts)
    assert refusal is None, (refusal, texts)
    reply = session.ask(canonical.dumps(case["input"]) if "input" in case else b"")
    assert reply.refusal is None, (reply.refusal, texts)
    return reply.value


def test_v0_means_what_it_meant(session):
    """Every v0 module gives v0's answer after rewriting, and no line moves."""
    wrong = []
    for case in CASES:
        texts = [(path, rewrite(text)) for path, text in modules(case)]
        try:
            given = answer(session, texts, case)
        except AssertionError as error:
            given = error
        if given != case["want"]:
            wrong.append((case["why"], given, texts))
        assert [t.count("\n") for _, t in texts] == [t.count("\n") for _, t in modules(case)], case["why"]
    assert not wrong
    assert len(CASES) >= 200


def test_what_is_rewritten_stays():
    """Rewriting what was rewritten changes nothing: the result is v1."""
    for case in CASES:
        for _, text in modules(case):
            once = rewrite(text)
            assert rewrite(once) == once, case["why"]


V1 = (
    "package a\n\nimport rego.v1\n\nallow if input.x in {1, 2}\n\ndeny contains msg if some msg in input.msgs\n",
    'package a\np.q contains "x" if true\nq[x] := 1 if x := "k"\nf(x) := x * 2\ndefault p.r := 1\n',
    "package a\np if every x in input { x > 0 }\nq if not p\nr := 1 if p else := 2 if q else := 3\n",
    "package a\np if {\n  some k, v in input\n  v == 1 with input as {}\n} else := 2 if { true }\n",
    'package a\np := $"a {input.x} {{ b"\nq if { $"{p}" == "}" }\nr contains $`x {q}`\n',
    "package a\nin.x := 1\nif.y contains 1 if in.x\ncontains.z(x) := x\n",
    "package a\np := [x | some x in [1]] if { 1 in [1] } # in if { every\nq := 1, 2 in [[2]]\n",
    "package a\np if x := 1\nq if input.a\nr if {1} == {1}\ns if count({1}) == 1\nt if [1][0]\n",
    "package a\np if\n  input.x ==\n    1\n\nq := x if {\n  x := {y | some y in [1]; y > 0}\n}\n",
)


@pytest.mark.parametrize("text", V1)
def test_v1_stays_as_it_is(text):
    """A text that is v1 already is not touched, and does not look like v0."""
    assert rewrite(text) == text
    assert not looks_v0(text)


@pytest.mark.parametrize("text", ["package a\np { true }", "package a\np[1]", "package a\nq = any([true])"])
def test_v0_looks_like_v0(text):
    """What only v0 takes is known from the text."""
    assert looks_v0(text)


@pytest.mark.parametrize(
    "text",
    [
        "package a\nimport rego.v1\np { true }",
        "package a\ndeny contains 1 if { true }\np { true }",
        "package a\np if { true }\ndeny[1] { true }",
    ],
)
def test_both_at_once_is_neither(text):
    """Who uses v1's words without importing them means v1, and forgot an `if`."""
    assert not looks_v0(text)


WORDS = [
    *("p", "q", "deny", "in", "if", "contains", "every", "some", "not", "with", "as", "else", "default", "import"),
    *("package", "input", "data", "any", "set_diff", "net", "future.keywords", "rego.v1", "cidr_overlap(", "any("),
    *("contains(", "[x]", "{true}", ".", ",", ";", ":", ":=", "=", "==", "{", "}", "[", "]", "(", ")", "|", "-"),
    *('"a"', '"{"', "`b`", "`\n`", '$"{x}"', '$"', '"', "`", "1", "2.5", "#", "\\", "é", "\x00"),
]


def soup(seed):
    chance = random.Random(seed)
    gaps = ("", " ", "\n", " ", "\t")
    return "".join(chance.choice(WORDS) + chance.choice(gaps) for _ in range(chance.randrange(1, 60)))


def test_any_text_at_all_keeps_its_lines():
    """Whatever the text, the rewriter answers, and with as many lines as it was given."""
    for seed in range(6000):
        text = soup(seed)
        assert rewrite(text).count("\n") == text.count("\n"), repr(text)
        looks_v0(text)


def mutated(chance, text):
    """One token removed, doubled or swapped with another."""
    parts = re.findall(r"\s+|\w+|.", text)
    at = chance.randrange(len(parts))
    parts[at : at + 1] = chance.choice([[], [parts[at]] * 2, [chance.choice(parts)]])
    return "".join(parts)


def test_broken_rules_keep_their_lines_and_their_rest():
    """A slip in one rule neither moves a line nor keeps the rewriter from the rules before it."""
    chance = random.Random(7)
    for case in CASES:
        for _, text in modules(case):
            for _ in range(20):
                broken = mutated(chance, text)
                assert rewrite(broken).count("\n") == broken.count("\n"), repr(broken)
                assert "z contains 1" in rewrite(f"package z\nz[1] {{ true }}\n{broken}")


def test_deep_nesting_is_no_trouble():
    """Brackets ten thousand deep neither overflow the stack nor take long."""
    text = "package a\np = " + "[" * 10_000 + "]" * 10_000 + " { true }"
    assert rewrite(text).endswith(" if { true }")


def test_columns_lead_back():
    """A place in the rewritten text is found in the original: the same word stands there."""
    for case in CASES:
        for _, text in modules(case):
            made = rewritten(text)
            old, new = text.split("\n"), made.text.split("\n")
            for number, row in enumerate(new, 1):
                for match in re.finditer(r"\w+", row):
                    column = made.column(number, match.start() + 1)
                    found = old[number - 1][column - 1 :]
                    added = match[0] in {"if", "contains", "true", "as"} or match[0].endswith("_v0") or "_v0" in row
                    assert added or found.startswith((match[0], "re_match", "net", ".")), (row, match)
