"""Expressions: what they give, where they fail, what they read, and what they may cost."""

from __future__ import annotations

import subprocess
import sys
import time
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mandamus.catalog import expression, scan
from mandamus.kernel import canonical
from mandamus.kernel.document import parse
from mandamus.kernel.errors import Code, MandamusError, Problem

SCOPE = {
    "inputs": {"name": "ada", "count": 3, "list": [1, 2, 3], "big": 2**80, "price": Decimal("1.10"), "none": None},
    "steps": {"a": {"outputs": {"x": "v", "m": {"k": [1]}}}, "my-step": {"outputs": {"y": 1}}},
    "env": {"name": "dev", "vars": {"hook": "h"}},
    "run": {"id": "run_1", "workflow": "w", "requester": "ada"},
    "secrets": {"token": "hunter2hunter2"},
}


def read(text: str) -> tuple[expression.Template | str, list[Problem]]:
    block = "a: |-\n" + "".join(f"  {line}\n" for line in text.split("\n"))
    problems: list[Problem] = []
    return expression.parse(parse(block.encode(), "w.yaml").fields["a"], problems), problems


def value(text: str, scope=SCOPE):
    made, problems = read(text)
    assert problems == []
    assert isinstance(made, expression.Template)
    return made.evaluate(scope)


VALUES = {
    "${{ inputs.name }}": "ada",
    "${{inputs.name}}": "ada",
    "${{ inputs.count }}": 3,
    "${{ inputs.big }}": 2**80,
    "${{ inputs.price }}": Decimal("1.10"),
    "${{ inputs.none }}": None,
    "${{ inputs.list }}": [1, 2, 3],
    "${{ steps.a.outputs.m }}": {"k": [1]},
    '${{ steps["my-step"].outputs.y }}': 1,
    "${{ steps['my-step']['outputs'].y }}": 1,
    "${{ inputs.count + 1 }}": 4,
    "${{ inputs.count == 3 && inputs.name != 'x' }}": True,
    "${{ 2.0 }}": Decimal("2.0"),
    "${{ double(inputs.count) / 2.0 }}": Decimal("1.5"),
    "${{ inputs.price > 1.0 }}": True,
    "${{ inputs.list.map(x, x * 2) }}": [2, 4, 6],
    "${{ inputs.list.filter(x, x > 1).map(x, string(x)) }}": ["2", "3"],
    "${{ inputs.list.exists(x, x == 2) }}": True,
    "${{ size(inputs.list) }}": 3,
    "${{ has(steps.a.outputs.zz) ? 'y' : 'n' }}": "n",
    "${{ 'name' in inputs }}": True,
    "${{ {'a': {'b': 1}} }}": {"a": {"b": 1}},
    "${{ {'a': {'b': 1}}}}": {"a": {"b": 1}},
    "${{ {'a': 1}}}": {"a": 1},
    "${{ '}}' }}": "}}",
    "${{ '${{' }}": "${{",
    '${{ r\'\\d\' + "\\"" }}': '\\d"',
    "${{ '''it's''' }}": "it's",
    "${{ duration('90m') }}": "5400s",
    "${{ timestamp('2026-01-31T00:00:00Z') }}": "2026-01-31T00:00:00Z",
    "${{ 'abc'.matches('^a') }}": True,
    "${{ inputs.name // a comment\n  + '!' }}": "ada!",
    "${{ type(inputs.name) == string }}": True,
    "${{ inputs }}": SCOPE["inputs"],
    "${{ secrets.token }}": "hunter2hunter2",
    "x ${{ inputs.name }} y ${{ inputs.count }}": "x ada y 3",
    "${{ inputs.count }}${{ inputs.count }}": "33",
    "is ${{ inputs.count > 2 }}, ${{ inputs.price }}": "is true, 1.10",
}


@pytest.mark.parametrize(("text", "expected"), VALUES.items())
def test_values_and_their_types(text, expected):
    """A lone expression keeps the type of its value, with text around it all becomes text; no value is a float."""
    made = value(text)
    assert made == expected
    assert type(made) is type(expected)
    canonical.dumps(made)


PROBLEMS = {
    "${{ inputs.name": ("1:5", "not closed"),
    "${{}}": ("1:4", "empty"),
    "a ${{  }}": ("1:8", "empty"),
    "${{ 1 + }}": ("1:8", "too early"),
    "x ${{ inputs.name ] }}": ("1:19", "extraneous"),
    "ok\nthen ${{ (1 }}": ("2:12", "too early"),
    "${{ foo }}": ("1:5", "no variable `foo`"),
    "${{ input.name }}": ("1:5", "no variable `input`"),
    "${{ steps.my-step.outputs.y }}": ("1:14", "no variable `step`"),
    "${{ sze(inputs.list) }}": ("1:5", "no function `sze`"),
    "${{ inputs.name.lower() }}": ("1:17", "no function `lower`"),
    "${{ steps }}": ("1:5", "name of one step"),
    "${{ steps[inputs.name].outputs }}": ("1:5", "name of one step"),
    "${{ secrets }}": ("1:5", "name of one secret"),
    "${{ inputs.list.map(x, inputs.list.map(y, y)) }}": ("1:36", "inside another macro"),
    "${{ inputs.name.matches(inputs.name) }}": ("1:17", "no literal"),
    "${{ .inputs.name }}": ("1:5", "begins with a dot"),
    "${{ inputs{name: 1} }}": ("1:5", "message type"),
    "${{ " + "(" * 41 + "1" + ")" * 41 + " }}": ("1:45", "nested"),
    "${{ '" + "x" * 2001 + "' }}": ("1:5", "over 2000"),
    "${{ has(inputs) }}": ("1:9", "has"),
}


@pytest.mark.parametrize(("text", "expected"), PROBLEMS.items())
def test_faults_are_found_before_a_run_at_their_place(text, expected):
    """What is wrong with an expression is said with the line and column inside the scalar, and a way out."""
    _, problems = read(text)
    assert problems
    place, words = expected
    line, col = place.split(":")
    assert (problems[0].line, problems[0].col) == (int(line) + 1, int(col) + 2)
    assert words in problems[0].message
    assert problems[0].code == "expression"
    assert problems[0].remedy


def test_a_dash_in_a_name_gets_the_right_remedy():
    """steps.my-step is a subtraction in CEL; the remedy shows how to write it."""
    _, problems = read("${{ steps.my-step.outputs.y }}")
    assert problems[0].remedy == 'a name with a dash is written steps["my-step"]'


FAILURES = {
    "${{ inputs.nam }}": "there is no `nam` in inputs",
    "${{ steps.a.outputs.y.z }}": "there is no `y` in steps.a.outputs",
    "${{ inputs.name.x }}": "there is no `x` in inputs.name",
    "${{ inputs.name + 1 }}": "",
    "${{ 1 / 0 }}": "division by zero",
    "${{ 9223372036854775807 + inputs.count }}": "overflow",
    "${{ 1.0 / 0.0 }}": "its value is inf",
    "${{ inputs.list[7] }}": "out of bounds",
    "${{ b'x' }}": "bytes",
    "${{ {1: 2} }}": "keys that are no strings",
    "x ${{ inputs.none }}": "null",
    "x ${{ inputs.list }}": "a list",
    "x ${{ steps.a.outputs.m }}": "a map",
}


@pytest.mark.parametrize(("text", "words"), FAILURES.items())
def test_failures_in_a_run_name_file_line_and_column(text, words):
    """A value that cannot be had is an error with the expression's place, never a half-filled text."""
    made, problems = read(text)
    assert problems == []
    assert isinstance(made, expression.Template)
    with pytest.raises(MandamusError) as caught:
        made.evaluate(SCOPE)
    assert caught.value.code is Code.EXPRESSION_INVALID
    assert caught.value.message.startswith(f"w.yaml:2:{text.index('${{') + 7}: ")
    assert words in caught.value.message
    assert caught.value.remedy


def test_a_failure_that_reads_a_secret_does_not_show_it():
    """CEL's own words can hold values, so they are kept back."""
    made, _ = read("${{ int(secrets.token) }}")
    assert isinstance(made, expression.Template)
    with pytest.raises(MandamusError) as caught:
        made.evaluate(SCOPE)
    assert "hunter2" not in str(caught.value.to_json())
    assert "reads a secret" in caught.value.message


def test_references_are_read_off_the_text():
    """Dotted paths, also in brackets; names in strings and macro variables are no references."""
    made, _ = read(
        "${{ inputs.list.map(n, n + size('steps.no.outputs')) }} ${{ steps['my-step'].outputs.y[0].z }} ${{ env }}"
    )
    assert isinstance(made, expression.Template)
    assert made.references() == {"inputs.list", "steps.my-step.outputs.y", "env"}


def test_text_without_expressions_stays_text():
    """A dollar, a brace or a brace pair alone means nothing."""
    for text in ("plain", "$", "${x}", "{{ x }}", "$ {{ x }}", "}}"):
        assert read(text) == (text, [])


def test_a_wide_scope_costs_no_more():
    """Only what an expression names is handed to the engine: a thousand steps change nothing."""
    made, _ = read("${{ steps.s0.outputs.v + inputs.name }}")
    assert isinstance(made, expression.Template)
    steps = {f"s{i}": {"outputs": {"v": "x" * 1000}} for i in range(5_000)}
    begun = time.process_time()
    for _ in range(100):
        made.evaluate({**SCOPE, "steps": steps})
    assert time.process_time() - begun < 2


BOMBS = [
    "${{ inputs.l.map(x, inputs.s + inputs.s + inputs.s) }}",
    "${{ (inputs.l + inputs.l + inputs.l + inputs.l).map(x, x) }}",
    "${{ inputs.l.map(x, [x, x, x, x]).map(y, y + y + y + y) }}",
    "${{ " + " + ".join(["inputs.s"] * 100) + " }}",
]


@pytest.mark.parametrize("text", BOMBS)
def test_expressions_that_would_eat_the_machine_are_refused(text):
    """The most an expression could make is worked out before it runs."""
    made, problems = read(text)
    assert problems == []
    assert isinstance(made, expression.Template)
    scope = {**SCOPE, "inputs": {"l": list(range(3_000)), "s": "x" * 60_000}}
    begun = time.process_time()
    with pytest.raises(MandamusError) as caught:
        made.evaluate(scope)
    assert caught.value.code is Code.EXPRESSION_INVALID
    assert time.process_time() - begun < 1


def test_the_terminal_libraries_of_the_cel_package_are_not_loaded():
    """Only its extension module is: the rest costs more than a whole check may."""
    script = (
        "import sys; from mandamus.catalog import expression; expression.engine()('1'); "
        "print([m for m in sys.modules if m.split('.')[0] in {'typer', 'rich', 'prompt_toolkit', 'pygments'}])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


_WORDS = [
    "inputs",
    "steps",
    ".",
    "name",
    "[",
    "]",
    "'a'",
    '"',
    "(",
    ")",
    "{",
    "}",
    "}}",
    "map",
    "x",
    ",",
    "1",
    "+",
    "-",
]
_MORE = [
    " ",
    "\n",
    "//",
    "==",
    "&&",
    "?",
    ":",
    "has",
    "size",
    "in",
    "r'",
    "'''",
    "\\",
    "u",
    "0x",
    "é",
    "secrets",
    "true",
]


@settings(max_examples=500, deadline=None)
@given(st.lists(st.sampled_from(_WORDS + _MORE), max_size=25).map("".join))
def test_any_text_in_an_expression_gives_a_template_or_problems(text):
    """Scanning and compiling never raise, places lie in the file, and evaluation raises only our error."""
    made, problems = read("${{ " + text + " }}")
    assert all(p.line >= 2 and p.col >= 1 for p in problems)
    if problems or not isinstance(made, expression.Template):
        return
    assert outcome(made) in {None, Code.EXPRESSION_INVALID, Code.VALUE_INVALID}


def outcome(made: expression.Template) -> Code | None:
    """The code of the error that evaluating raises, or None for a value with a canonical form."""
    try:
        canonical.dumps(made.evaluate(SCOPE))
    except MandamusError as error:
        return error.code
    return None


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=40))
def test_a_string_literal_never_ends_an_expression(text):
    """Whatever stands in quotes, the expression ends at its own braces."""
    literal = '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    found = scan.expression("${{ " + literal + " }} rest", 3)
    assert found.text == literal
    assert found.references == ()
