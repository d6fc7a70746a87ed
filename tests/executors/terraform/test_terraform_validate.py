from __future__ import annotations

import pytest

from mandamus.executors import terraform
from mandamus.executors.model import Toolbox
from mandamus.kernel.document import parse


def problems(text: str, file: str = "workflows/w.yaml") -> list[str]:
    """What is found in a spec, as ``line: code: message (remedy)``."""
    node = parse(text.encode(), file)
    found = terraform.build(Toolbox(None, {})).validate(node)
    return [f"{each.line}: {each.code}: {each.message} ({each.remedy})" for each in found]


def test_a_spec_that_is_right_has_no_problem():
    """A folder, variables of any shape and an environment with expressions."""
    assert (
        problems(
            "dir: ../terraform/bucket\n"
            'vars: {name: "${{ inputs.name }}", list: [1, 2], map: {a: null}, with-dash: 1.5}\n'
            'env: {AWS_REGION: eu-1, AWS_SECRET_ACCESS_KEY: "${{ secrets.aws }}", N: 1, B: true}\n'
        )
        == []
    )
    assert problems("dir: .\n") == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("vars: {}\n", "1: missing-key: `terraform` needs the key `dir` (add `dir:`)"),
        ("dri: x\ndir: y\n", "1: unknown-key: `terraform` has no key `dri` (did you mean `dir`?)"),
        ("dir: [x]\n", "1: wrong-type: `dir` is a string, not list (give a string)"),
        ('dir: ""\n', "1: wrong-value: `dir` is empty (give a value, or delete the key)"),
        ("dir: x\nvars: [a]\n", "2: wrong-type: `vars` is a map, not list (write key: value lines below it, indented)"),
        ("dir: x\nvars: {1a: 2}\n", "2: wrong-value: `1a` is no name for a variable (correct the name)"),
        ("dir: x\nenv: {A: [1]}\n", "2: wrong-type: `A` is a string, a number or a boolean, not list"),
        ("dir: x\nenv: {A: null}\n", "2: wrong-type: `A` is a string, a number or a boolean, not null"),
        ("dir: x\nenv: {A-B: 1}\n", "2: wrong-value: `A-B` is no name for an environment variable"),
        ("dir: x\nenv: {TF_VAR_x: 1}\n", "2: wrong-value: `TF_VAR_x` is the platform's own"),
        ("dir: x\nenv: {PATH: /x}\n", "2: wrong-value: `PATH` is the platform's own"),
        ("dir: /etc\n", "1: wrong-value: `dir` is no relative path"),
        ("dir: 'a\\b'\n", "1: wrong-value: `dir` is no relative path"),
        ("dir: ../../x\n", "1: wrong-value: `dir` leaves the project"),
        ("dir: ../x/../../y\n", "1: wrong-value: `dir` leaves the project"),
        ("dir: ${{ inputs.x }}\n", "1: expression-refused: `dir` cannot hold an expression"),
    ],
)
def test_every_mistake_has_its_place_and_a_way_out(text, expected):
    """One problem each, at its line, with what to do."""
    (found,) = problems(text)
    assert found.startswith(expected)


def test_all_problems_are_told_at_once():
    """Nobody mends a file one error at a time."""
    assert len(problems("dir: /x\nvars: {}\nenv: {TF_X: 1, B: []}\nother: 1\n")) == 4


def test_a_spec_that_is_no_map():
    """The whole may be something else."""
    (found,) = problems("just text\n")
    assert found.startswith("1: wrong-type: `terraform` is a map, not string")
