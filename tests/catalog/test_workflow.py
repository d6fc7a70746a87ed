"""Workflows: the example of the README's kind, and everything that is wrong with one, at once and in its place."""

from __future__ import annotations

import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mandamus.catalog import workflow
from mandamus.catalog.expression import Template
from mandamus.catalog.model import Retry
from mandamus.kernel import canonical
from mandamus.kernel.errors import Code, MandamusError

EXAMPLE = """\
workflow: storage-bucket
inputs:
  name:   {type: string, pattern: "^[a-z0-9-]{3,40}$"}
  public: {type: boolean, default: false}
steps:
  bucket:
    terraform: {dir: ../terraform/bucket, vars: {name: "${{ inputs.name }}", public: "${{ inputs.public }}"}}
  smoke:
    needs: [bucket]
    if: ${{ inputs.name != "skip" }}
    timeout: 2m
    retry: {attempts: 3, backoff: 2s}
    script: {run: 'test -n "$BUCKET"', env: {BUCKET: "${{ steps.bucket.outputs.name }}"}}
  tell:
    needs: [bucket, smoke]
    http: {method: POST, url: "${{ env.vars.hook }}", json: {bucket: "${{ steps.bucket.outputs.name }}"}, EXPECT}
""".replace("EXPECT", "expect: {status: [200, 204]}")


def problems(parse, text: str | bytes, code: Code = Code.WORKFLOW_INVALID) -> list[dict[str, object]]:
    with pytest.raises(MandamusError) as caught:
        parse(text)
    assert caught.value.code is code
    assert caught.value.remedy
    found = caught.value.context["problems"]
    assert isinstance(found, list)
    assert all(each["file"] == "w.yaml" and each["message"] and each["remedy"] for each in found)
    assert caught.value.message.count("\nw.yaml:") == len(found) - 1
    return found


def places(found: list[dict[str, object]]) -> list[str]:
    return [f"{each['line']}:{each['col']}: {each['code']}" for each in found]


def test_the_example_is_read(parse):
    """The example workflow gives steps in order, with their needs, condition, time limits and values."""
    made = parse(EXAMPLE)
    assert made.name == "storage-bucket"
    assert made.digest == canonical.digest(EXAMPLE.encode())
    assert [(step.name, step.needs, step.executor) for step in made.steps] == [
        ("bucket", (), "terraform"),
        ("smoke", ("bucket",), "script"),
        ("tell", ("bucket", "smoke"), "http"),
    ]
    smoke = made.by_name["smoke"]
    assert (smoke.timeout_s, smoke.retry) == (120, Retry(3, 2))
    assert str(smoke.at) == "w.yaml:8:3"
    assert smoke.references == {"steps.bucket.outputs.name"}
    scope = {"inputs": {"name": "skip", "public": True}, "steps": {"bucket": {"outputs": {"name": "b"}}}}
    assert smoke.runs(scope) is False
    assert smoke.resolve(scope) == {"run": 'test -n "$BUCKET"', "env": {"BUCKET": "b"}}
    assert made.by_name["bucket"].resolve(scope)["vars"] == {"name": "skip", "public": True}
    assert made.bind({"name": "my-bucket", "public": "true"}) == {"name": "my-bucket", "public": True}


def test_steps_stand_in_the_order_of_their_needs(parse):
    """The file may tell steps in any order; what runs is told in the order in which it may run."""
    text = "workflow: w\nsteps:\n" + "".join(
        f"  {name}:\n    needs: [{needs}]\n    script: {{run: x}}\n"
        for name, needs in (("c", "b"), ("a", ""), ("b", "a"), ("d", ""))
    )
    assert [step.name for step in parse(text).steps] == ["a", "b", "c", "d"]


def test_a_step_without_more_has_its_defaults(parse):
    """An hour, one try, no condition."""
    (step,) = parse("workflow: w\nsteps: {a: {script: {run: x}}}\n").steps
    assert (step.timeout_s, step.retry, step.condition) == (3600, Retry(1, 0), None)
    assert step.runs({}) is True


EVERYTHING = """\
workflow: Bad Name
inputs:
  1st: {type: string}
  n: {type: int}
  p: {type: string, pattern: "(?=x)"}
  d: {type: integer, default: "3"}
  e: {type: boolean, enum: [true]}
steps:
  a:
    nedds: [b]
    script: {run: x}
  b:
    needs: [a, nobody, a]
    script: {run: x}
    http: {}
  c:
    timeout: soon
    retry: {attempts: 99}
    if: yes
    script: {rum: x}
  d:
    script: {run: 'echo ${{ inputs.n }}'}
  e:
    needs: [f]
    script: {run: x, env: {A: "${{ steps.a.outputs.x }}", B: "${{ inputs.m }}", C: "${{ foo }}"}}
  f:
    needs: [e]
  G:
    script: {run: x}
more: 1
"""


def test_every_problem_is_told_at_once(parse):
    """One reading finds names, types, patterns, needs, cycles, expressions and what the executors refuse."""
    found = problems(parse, EVERYTHING)
    assert places(found) == [
        "1:11: wrong-value",
        "3:3: wrong-value",
        "4:13: wrong-value",
        "5:30: wrong-value",
        "6:31: wrong-type",
        "7:28: wrong-value",
        "10:5: unknown-key",
        "13:16: unknown-name",
        "13:24: wrong-value",
        "15:5: wrong-value",
        "17:14: wrong-value",
        "18:23: wrong-value",
        "19:9: wrong-type",
        "20:13: missing-key",
        "20:14: unknown-key",
        "22:25: expression-refused",
        "24:13: cycle",
        "25:36: not-needed",
        "25:67: unknown-name",
        "25:89: expression",
        "26:3: missing-key",
        "28:3: wrong-value",
        "30:1: unknown-key",
    ]
    remedies = {place: str(each["remedy"]) for place, each in zip(places(found), found, strict=True)}
    assert remedies["10:5: unknown-key"] == "did you mean `needs`?"
    assert remedies["4:13: wrong-value"] == "did you mean `integer`?"
    assert remedies["20:14: unknown-key"] == "did you mean `run`?"
    assert remedies["25:67: unknown-name"] == "declare it under `inputs`"
    assert remedies["25:36: not-needed"] == "write needs: [f, a]"
    assert str(found[0]["message"]) == "`Bad Name` is no name for the workflow"


def test_the_message_is_one_line_a_problem(parse):
    """A problem reads ``file:line:col: code: message (remedy)``, as editors jump to."""
    with pytest.raises(MandamusError) as caught:
        parse("workflow: w\nsteps:\n  a:\n    nedds: []\n    script: {run: x}\n")
    assert caught.value.message == "w.yaml:4:5: unknown-key: step `a` has no key `nedds` (did you mean `needs`?)"


@pytest.mark.parametrize(
    ("script", "variable", "inner"),
    [
        ('"echo ${{ inputs.name }}"', "NAME", "inputs.name"),
        ("'${{ steps.b.outputs.bucket_id }}'", "BUCKET_ID", "steps.b.outputs.bucket_id"),
        ("'${{inputs.name}}'", "NAME", "inputs.name"),
        ('"x $\\u007b{ inputs.name }}"', "NAME", "inputs.name"),
        ("'${{ 1 + }}'", "1", "1 +"),
        ("'a ${{'", "VALUE", "..."),
        ("'${{ secrets.token }}'", "TOKEN", "secrets.token"),
    ],
)
def test_an_expression_in_a_script_is_refused(parse, script, variable, inner):
    """A value pasted into program text could become code; the remedy is the ``env:`` to write instead."""
    found = problems(parse, f"workflow: w\nsteps:\n  a:\n    script:\n      run: {script}\n")
    assert [each["code"] for each in found] == ["expression-refused"]
    assert f'env: {{{variable}: "${{{{ {inner} }}}}"}}' in str(found[0]["remedy"])
    assert f'use "${variable}"' in str(found[0]["remedy"])


def test_the_refusal_names_the_line_inside_a_block(parse):
    """In a script of many lines the place is that of the expression, not of the script."""
    text = "workflow: w\nsteps:\n  a:\n    script:\n      run: |\n        set -e\n\n        rm ${{ inputs.x }}\n"
    assert places(problems(parse, text)) == ["8:12: expression-refused"]


def test_a_list_of_commands_is_program_text_too(parse, validators):
    """Where an executor takes a list as its program, no element may hold an expression."""
    text = b'workflow: w\nsteps:\n  a:\n    script:\n      run: [echo, "${{ inputs.x }}"]\n'
    with pytest.raises(MandamusError) as caught:
        workflow.read(text, "w.yaml", {**validators, "script": lambda _: []})
    assert "expression-refused" in caught.value.message


SECRETS = [
    ("script: {run: x, env: {T: '${{ secrets.token }}'}}", []),
    ("http: {url: u, headers: {A: 'Bearer ${{ secrets.token }}'}}", []),
    ("terraform: {dir: d, vars: {t: {deep: ['${{ secrets.token }}']}}}", []),
    ("http: {url: 'https://x/${{ secrets.token }}'}", ["4:32: expression-refused"]),
    ("http: {url: u, json: {t: '${{ secrets.token }}'}}", ["4:35: expression-refused"]),
    ("terraform: {dir: '${{ secrets.token }}'}", ["4:27: expression-refused"]),
    ("if: ${{ secrets.token == 'x' }}", ["4:13: expression-refused"]),
    ("script: {run: x, env: {T: '${{ secrets.token.field }}'}}", ["4:36: unknown-name"]),
    ("script: {run: x, env: {T: '${{ secrets }}'}}", ["4:36: expression"]),
    ("script: {run: x, env: {T: '${{ secrets[run.id] }}'}}", ["4:36: expression"]),
]


@pytest.mark.parametrize(("line", "expected"), SECRETS, ids=range(len(SECRETS)))
def test_secrets_are_read_in_few_places(parse, line, expected):
    """Only env, headers and vars take a secret, and only whole: elsewhere it could be stored or shown."""
    more = "" if line.startswith("script") else "    script: {run: x}\n" if line.startswith("if") else ""
    text = f"workflow: w\nsteps:\n  a:\n    {line}\n{more}"
    if expected:
        assert places(problems(parse, text)) == expected
    else:
        (step,) = parse(text).steps
        assert step.secrets == {"token"}


REFERENCES = [
    ("${{ inputs.nam }}", "there is no input `nam`", "did you mean `name`?"),
    ("${{ env.var.hook }}", "`env` has no `var`", "did you mean `vars`?"),
    ("${{ run.user }}", "`run` has no `user`", "did you mean `requester`?"),
    ("${{ steps.nobody.outputs.x }}", "there is no step `nobody`", "name a step of this workflow"),
    ("${{ steps.my.outputs.x }}", "there is no step `my`", 'a name with a dash is written steps["my-step"]'),
    ("${{ steps.a.outputs.x }}", "step `a` reads its own outputs", "read the outputs of another step"),
    ("${{ steps.b.state }}", "a step has only outputs to read, not `steps.b.state`", "write steps.b.outputs.NAME"),
    ("${{ steps.b }}", "a step has only outputs to read, not `steps.b`", "write steps.b.outputs.NAME"),
]


@pytest.mark.parametrize(("text", "message", "remedy"), REFERENCES)
def test_what_an_expression_names_must_be_there(parse, text, message, remedy):
    """A path that no run could fill is found before the run, with the nearest name."""
    head = (
        "workflow: w\ninputs: {name: {type: string}}\nsteps:\n  b: {script: {run: x}}\n  my-step: {script: {run: x}}\n"
    )
    body = f"  a:\n    needs: [b, my-step]\n    script: {{run: x, env: {{E: '{text}'}}}}\n"
    (found,) = problems(parse, head + body)
    assert (found["message"], found["remedy"]) == (message, remedy)
    assert (found["line"], found["col"]) == (8, body.splitlines()[2].index(text) + 5)


def test_needs_reach_through_others(parse):
    """A step may read what a step it needs needs: it is done by then."""
    text = """workflow: w
steps:
  a: {script: {run: x}}
  b: {needs: [a], script: {run: x}}
  c: {needs: [b], script: {run: x, env: {E: "${{ steps.a.outputs.x }}"}}}
"""
    assert parse(text).by_name["c"].references == {"steps.a.outputs.x"}


CYCLES = [
    ({"a": "a"}, ["steps need each other: a -> a"]),
    ({"a": "b", "b": "a"}, ["steps need each other: a -> b -> a"]),
    ({"a": "b", "b": "c", "c": "b", "d": "e", "e": "d"}, ["b -> c -> b", "d -> e -> d"]),
    ({f"s{i}": f"s{(i + 1) % 40}" for i in range(40)}, ["s0 -> s1 -> ", "-> ... -> s39 -> s0"]),
]


@pytest.mark.parametrize(("needs", "words"), CYCLES, ids=range(len(CYCLES)))
def test_cycles_are_told_as_paths(parse, needs, words):
    """Each cycle is one problem, told as the way round, at the need that closes it."""
    text = "workflow: w\nsteps:\n" + "".join(
        f"  {name}: {{needs: [{need}], script: {{run: x}}}}\n" for name, need in needs.items()
    )
    found = problems(parse, text)
    assert {each["code"] for each in found} == {"cycle"}
    assert all(any(word in str(each["message"]) for each in found) for word in words)
    assert all(len(str(each["message"])) < 200 for each in found)


SHAPES = {
    "[]": "1:1: wrong-type",
    "x": "1:1: wrong-type",
    "workflow: w\nsteps: []\n": "2:8: wrong-type",
    "workflow: w\nsteps: {}\n": "2:8: wrong-value",
    "workflow: w\nsteps: {a: 1}\n": "2:12: wrong-type",
    "workflow: 1\nsteps: {a: {script: {run: x}}}\n": "1:11: wrong-type",
    "steps: {a: {script: {run: x}}}\n": "1:1: missing-key",
    "workflow: w\n": "1:1: missing-key",
    'workflow: "${{ inputs.x }}"\nsteps: {a: {script: {run: x}}}\n': "1:11: expression-refused",
    "workflow: w\nsteps: {a: {script: run}}\n": "2:21: wrong-type",
    "workflow: w\nsteps: {a: {needs: b, script: {run: x}}, b: {script: {run: x}}}\n": "2:20: wrong-type",
    "workflow: w\nsteps: {a: {if: 'true', script: {run: x}}}\n": "2:17: wrong-type",
    "workflow: w\nsteps: {a: {if: 'x ${{ true }}', script: {run: x}}}\n": "2:17: wrong-type",
    "workflow: w\nsteps: {a: {script: {run: x, env: {'${{ inputs.k }}': v}}}}\n": "2:36: expression-refused",
    "workflow: w\ninputs: {a: {type: list, pattern: x}}\nsteps: {s: {script: {run: x}}}\n": "2:35: wrong-value",
    "workflow: w\ninputs: {a: {type: string, enum: []}}\nsteps: {s: {script: {run: x}}}\n": "2:34: wrong-value",
    "workflow: w\ninputs: {a: {type: string, enum: [1]}}\nsteps: {s: {script: {run: x}}}\n": "2:35: wrong-value",
    "workflow: w\ninputs: {a: {type: string, default: 5}}\nsteps: {s: {script: {run: x}}}\n": "2:37: wrong-value",
    "workflow: w\ninputs: {a: {}}\nsteps: {s: {script: {run: x}}}\n": "2:13: missing-key",
}


@pytest.mark.parametrize(("text", "expected"), SHAPES.items())
def test_shapes_that_are_wrong_have_a_place(parse, text, expected):
    """What is of another kind than it must be is named where it stands, and reading never crashes."""
    assert places(problems(parse, text)) == [expected]


def test_scalars_are_those_of_yaml_1_2(parse):
    """``no`` is text, ``012`` is twelve: what runs is what a reviewer reads."""
    made = parse("workflow: w\nsteps: {a: {http: {json: {a: no, b: 012, c: 1:30, d: 0o10, e: 1.10}}}}\n")
    assert canonical.dumps(made.steps[0].spec["json"]) == b'{"a":"no","b":12,"c":"1:30","d":8,"e":1.10}'


HOSTILE = {
    "alias": b"workflow: &w w\nsteps: {a: {script: {run: *w}}}\n",
    "merge key": b"workflow: w\nsteps: {a: {<<: {needs: []}, script: {run: x}}}\n",
    "duplicate key": b"workflow: w\nworkflow: v\nsteps: {a: {script: {run: x}}}\n",
    "tag": b"workflow: !!python/name:os.system w\nsteps: {}\n",
    "NUL": b"workflow: w\0\nsteps: {}\n",
    "not UTF-8": b"workflow: \xff\n",
    "tab": b"workflow: w\nsteps:\n\ta: {}\n",
    "empty": b"",
    "two documents": b"workflow: w\n---\nworkflow: w\n",
    "100k deep": b"workflow: w\nsteps: " + b"[" * 100_000,
    "depth of 51": b"workflow: w\nsteps: " + b"[" * 51 + b"]" * 51,
    "nodes": b"workflow: w\nsteps: [" + b"1," * 200_001 + b"]",
    "10 MB scalar": b"workflow: " + b"w" * 10_000_000,
    "billion laughs": b"a: &a [x,x]\n" + b"".join(b"b%d: &b%d [*a,*a]\n" % (i, i) for i in range(50)),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_at_once(parse, name):
    """What a reviewer would misread, or what costs more than its size, never reaches the checks."""
    begun = time.process_time()
    problems(parse, HOSTILE[name], Code.DOCUMENT_INVALID)
    assert time.process_time() - begun < 10


def test_a_byte_order_mark_and_windows_lines_change_nothing(parse):
    """The same workflow from another editor has the same steps; only its digest differs."""
    there = parse(b"\xef\xbb\xbf" + EXAMPLE.replace("\n", "\r\n").encode())
    here = parse(EXAMPLE)
    scope = {"inputs": {"name": "n", "public": False}, "steps": {"bucket": {"outputs": {"name": "b"}}}}
    scope["env"] = {"vars": {"hook": "h"}}
    assert [step.resolve(scope) for step in there.steps] == [step.resolve(scope) for step in here.steps]
    assert there.digest != here.digest


def chain(steps: int) -> str:
    lines = ["workflow: long", "inputs: {name: {type: string}}", "steps:"]
    for n in range(steps):
        needs = f"needs: [s{n - 1}], " if n else ""
        value = f"${{{{ steps.s{n - 1}.outputs.v }}}}" if n else "${{ inputs.name }}"
        lines.append(f'  s{n}: {{{needs}script: {{run: "x", env: {{V: "{value}"}}}}}}')
    return "\n".join(lines)


def test_long_workflows_are_read(parse):
    """200 steps and 10,000 steps that read each other are checked in time that grows with their number only."""
    took = {}
    for steps in (200, 10_000):
        begun = time.process_time()
        assert len(parse(chain(steps)).steps) == steps
        took[steps] = time.process_time() - begun
    sys.stdout.write(str({steps: f"{seconds * 1000:.0f} ms" for steps, seconds in took.items()}))
    assert took[10_000] < 30


TEXTS = {
    "one that never ends": "${{ " + "a+" * 1_900_000,
    "quotes that never end": "${{ " + "'x " * 1_000_000,
    "very many in one text": "${{ inputs.x }}" * 250_000,
    "opened again and again": "${{ " * 900_000,
    "far into a long text": "x " * 40_000 + "${{ inputs.x }}",
}


@pytest.mark.parametrize("name", TEXTS)
def test_texts_that_cost_more_than_their_size_are_refused(parse, name):
    """A text with expressions is bounded before it is read, in a value and in a program."""
    text = f"workflow: w\nsteps:\n  a:\n    http:\n      json: |\n        {TEXTS[name]}\n"
    begun = time.process_time()
    assert places(problems(parse, text)) == ["5:13: limit"]
    found = problems(parse, text.replace("http", "script").replace("json", "run"))
    assert "expression-refused" in [each["code"] for each in found]
    assert all(len(str(each["remedy"])) < 200 for each in found)
    assert time.process_time() - begun < 20


def test_one_long_expression_is_told(parse):
    """Over 2,000 characters an expression is nobody's to review, closed or not."""
    for end in (" }}", ""):
        for size in (1_500, 10_000):
            text = "1 +" * size + " 1"
            (found,) = problems(parse, f"workflow: w\nsteps: {{a: {{http: {{json: '${{{{ {text}{end}'}}}}}}\n")
            assert found["message"] == "the expression is over 2000 characters"


def test_expressions_are_bounded_in_all(parse):
    """A workflow of nothing but expressions is refused after a mebibyte of them, once."""
    text = "workflow: w\nsteps:\n  a:\n    http:\n      json:\n" + "        - ${{ 1 }}\n" * 33_000
    (found,) = problems(parse, text)
    assert (found["code"], found["line"]) == ("limit", 5 + 1024 * 1024 // 32 + 1)


def test_more_than_ten_thousand_steps_are_refused(parse):
    """The limit is told at the steps, once."""
    text = "workflow: w\nsteps:\n" + "".join(f"  s{n}: {{}}\n" for n in range(10_001))
    assert places(problems(parse, text)) == ["3:3: limit"]


def test_problems_are_bounded(parse):
    """A file with thousands of problems shows the first 200 and says how many follow."""
    text = "workflow: w\nsteps:\n" + "".join(f"  s{n}: {{nope: 1, script: {{run: x}}}}\n" for n in range(1_000))
    with pytest.raises(MandamusError) as caught:
        parse(text)
    assert len(caught.value.message.splitlines()) == 200
    assert "800 more follow" in caught.value.remedy


def test_a_resolved_value_never_becomes_an_expression(parse):
    """What an input holds is data: ``${{ }}`` in a value is passed on as the text it is."""
    (step,) = parse(
        'workflow: w\ninputs: {n: {type: string}}\nsteps: {a: {script: {run: x, env: {N: "${{ inputs.n }}"}}}}\n'
    ).steps
    made = step.resolve({"inputs": {"n": "${{ secrets.token }}"}, "secrets": {"token": "hunter22"}})
    assert made["env"]["N"] == "${{ secrets.token }}"
    assert isinstance(step.spec["env"]["N"], Template)


_PIECES = ["workflow", "steps", "inputs", "needs", "script", "run", "if", "a", "b", "x", ": ", "\n", "\n  ", "\n    "]
_MORE = ["[a]", "{", "}", "- ", "${{ steps.a.outputs.x }}", "${{ inputs.", " }}", "'", '"', "1", "true", "~", ", "]


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(_PIECES + _MORE), max_size=40).map("".join))
def test_any_text_is_a_workflow_or_problems(text):
    """Reading raises nothing but our two errors, each with places inside the file."""
    try:
        made = workflow.read(text.encode(), "w.yaml", {"script": lambda _: []})
    except MandamusError as error:
        found = error.context["problems"]
        assert isinstance(found, list)
        codes = {error.code}
    else:
        found, codes = [], {Code.WORKFLOW_INVALID}
        assert made.steps
    assert codes <= {Code.DOCUMENT_INVALID, Code.WORKFLOW_INVALID}
    assert all(1 <= each["line"] <= text.count("\n") + 2 and each["col"] >= 1 for each in found)
