"""Directories of Rego with tests of their own, run by the real OPA in a real worker."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from mandamus.kernel.errors import MandamusError
from mandamus.policy import testing, testing_files, testing_model
from mandamus.policy.model import BuiltinErrors, Fault, RegoVersion, fault
from mandamus.policy.pool import Limits, WorkerPool
from mandamus.policy.testing_model import Report, Result
from mandamus.policy.testing_report import FORMS

POLICY = """package authz

allow if {
	input.path == ["users"]
	input.method == "POST"
}

level := 1 if input.low

level := 2 if input.high
"""
TESTS = """package authz_test

import data.authz

test_post if authz.allow with input as {"path": ["users"], "method": "POST"}

test_get if {
	print("asked with", "GET")
	authz.allow with input as {"path": ["users"], "method": "GET"}
}

test_conflict if authz.level == 1 with input as {"low": true, "high": true}

todo_test_later if false
"""

Run = Callable[..., Report]


@pytest.fixture
def run(pool, write, monkeypatch) -> Run:
    """Write files into a folder and run its tests, from within the folder so that paths are short."""

    def made(files: Mapping[str, str], *, ignore: tuple[str, ...] = (), **settings) -> Report:
        monkeypatch.chdir(write(files))
        sources = testing_files.read([Path()], ignore)
        return testing.run(sources, pool, testing.Settings(**settings), time.monotonic, lambda _done, _total: None)

    return made


@pytest.fixture
def alone(run) -> Callable[..., testing_model.Tested]:
    """Run one file with one test and give what became of it."""

    def made(text: str, **settings) -> testing_model.Tested:
        (tested,) = run({"a.rego": text}, **settings).tests
        return tested

    return made


def results(report: Report) -> dict[str, str]:
    """Every result by the test's name."""
    return {tested.title: tested.result.value for tested in report.tests}


def test_every_result_has_its_place(run):
    """Pass, fail, error and skip are told apart, each with file and line, what was printed and what failed."""
    report = run({"authz.rego": POLICY, "authz_test.rego": TESTS})
    assert results(report) == {
        "authz_test.test_post": "pass",
        "authz_test.test_get": "fail",
        "authz_test.test_conflict": "error",
        "authz_test.todo_test_later": "skip",
    }
    _, failed, conflict, _ = report.tests
    assert (failed.file, failed.line, failed.failed_line) == ("authz_test.rego", 7, 9)
    assert failed.message.startswith("undefined at line 9: authz.allow with input as")
    assert failed.prints == ("authz_test.rego:8: asked with GET",)
    assert re.match(r"authz\.rego:(8|10): eval_conflict_error", conflict.message)
    assert all(tested.duration_us > 0 for tested in report.tests[:3])


def test_the_line_is_that_of_the_furthest_failure(alone):
    """A test that tries several values failed where the last one did."""
    tested = alone("package a\ntest_x if {\n\tsome x in [1, 2]\n\tx > 1\n\tx > 2\n}\n")
    assert tested.message == "undefined at line 5: x > 2"


def test_the_counts_add_up(run):
    """The JSON form counts what it lists, in all and per file, with files that hold no test."""
    document = run({"authz.rego": POLICY, "authz_test.rego": TESTS}).to_json()
    counts = {"passed": 1, "failed": 1, "errors": 1, "skipped": 1}
    assert {name: document[name] for name in counts} == counts
    assert len(document["tests"]) == sum(counts.values())
    none = dict.fromkeys(counts, 0)
    assert document["files"] == [{"path": "authz.rego", **none}, {"path": "authz_test.rego", **counts}]
    assert "coverage" not in document


def test_a_test_is_any_rule_of_that_name(run):
    """In any file and package, and also where the name is a part of a longer head; a default is no test of its own."""
    text = """package a.b
test_a if true
inner.test_b if true
default test_c := false
test_c if true
latest_d if false
protest if false
"""
    assert results(run({"rules.rego": text})) == {
        "a.b.test_a": "pass",
        "a.b.inner.test_b": "pass",
        "a.b.test_c": "pass",
    }


def test_only_true_passes(run):
    """As in `opa test`: a number, an object or a set is not true, and neither is a function."""
    text = """package a
test_true := true
test_false := false
test_number := 1
test_set contains 1
test_object := {"a": true}
test_undefined if false
test_function(x) if x
"""
    found = {tested.name: (tested.result.value, tested.message) for tested in run({"a.rego": text}).tests}
    assert found.pop("test_true") == ("pass", "")
    assert {result for result, _ in found.values()} == {"fail"}
    assert found["test_false"][1] == "false"
    assert found["test_number"][1] == "a number, not true"


def test_no_test_sees_an_input(run):
    """Without `with input` there is none at all, not an empty one."""
    text = """package a
test_undefined if not input
empty if object.get(input, "x", 1) == 1
test_default if not empty
test_given if input.x == 1 with input as {"x": 1}
test_part if input == {"x": 1} with input.x as 1
"""
    assert set(results(run({"a.rego": text})).values()) == {"pass"}


def test_two_of_one_name_are_two(run):
    """Also in different files of a package: one that holds does not hide one that does not."""
    report = run({"a.rego": "package a\ntest_x if true\n", "b.rego": "package a\ntest_x if false\ntest_x if true\n"})
    assert [(t.name, t.file, t.line, t.result.value) for t in report.tests] == [
        ("test_x", "a.rego", 2, "pass"),
        ("test_x#01", "b.rego", 2, "fail"),
        ("test_x#02", "b.rego", 3, "pass"),
    ]


def test_each_body_behind_one_head_is_a_test(run):
    """One body that holds does not hide another that does not; also in v0, and with keys in the head."""
    text = """package a
test_x if { false } {
	true
} { 1 == 1 }
test_y[i] := true if { i := 1 } { some i in [1, 2]; i == 2 }
"""
    report = run(
        {"a.rego": text, "old.rego": "package old\ntest_x { false } { true }\ntest_y = true { true } { false }\n"}
    )
    assert [(tested.title, tested.line, tested.result.value) for tested in report.tests] == [
        ("a.test_x", 2, "fail"),
        ("a.test_x#01", 2, "pass"),
        ("a.test_x#02", 4, "pass"),
        ("a.test_y", 5, "pass"),
        ("a.test_y#01", 5, "fail"),
        ("old.test_x", 2, "fail"),
        ("old.test_x#01", 2, "pass"),
        ("old.test_y", 3, "pass"),
        ("old.test_y#01", 3, "fail"),
    ]


def test_data_and_rules_may_not_meet(run):
    """A file whose rule stands where data lies is an error, and the others are tested."""
    report = run(
        {
            "data.json": '{"a": {"test_x": 1}}',
            "a.rego": "package a\ntest_x if true\n",
            "b.rego": "package b\ntest_x if data.a.test_x == 1\n",
        }
    )
    assert results(report) == {"a.rego": "error", "b.test_x": "pass"}


def test_a_name_that_is_no_text_is_an_error_of_its_file(run, write, pool, monkeypatch):
    """Names of files come from elsewhere: one that is not UTF-8 stops no test."""
    folder = write({"a.rego": "package a\ntest_x if true\n"})
    (folder / "\udcff.rego").write_text("package b\n")
    monkeypatch.chdir(folder)
    report = testing.run(testing_files.read([Path()]), pool, testing.Settings(), time.monotonic, lambda *_: None)
    assert results(report) == {"a.test_x": "pass", "\udcff.rego": "error"}
    for form in FORMS.values():
        assert form(report)


def test_without_an_engine_there_is_no_report(real_clock):
    """That OPA is missing is one error, not one per file."""

    def missing():
        raise fault(Fault.ENGINE_MISSING, "no engine", "install it")

    pool = WorkerPool(real_clock, Limits(), missing)
    sources = testing_files.Sources({"a.rego": "package a\n"}, b"", ())
    with closing(pool), pytest.raises(MandamusError, match="no engine"):
        testing.run(sources, pool, testing.Settings(), time.monotonic, lambda *_: None)


CASES = {
    "a variable": ("[note]", 'some note, tc in {"a": {"x": 1}, "b": {"x": 2}, "c": {"x": 1}}', ["b"]),
    "a reference": ("[tc.note]", 'some tc in [{"note": "a b", "x": 1}, {"note": "c", "x": 3}]', ["c"]),
    "two keys": ("[tc.n][tc.m]", 'some tc in [{"n": "a", "m": 1, "x": 1}, {"n": "a", "m": 2, "x": 2}]', ["a / 2"]),
    "an index": ("[i]", 'some i, tc in [{"x": 1}, {"x": 2}]', ["1"]),
    "a call": ('[sprintf("no %d", [n])]', 'some n in [1, 2]; tc := {"x": n}', ["n=2"]),
    "none of them": ("[i]", 'some i, tc in [{"x": 1}, {"x": 1}]', []),
}


@pytest.mark.parametrize("case", CASES)
def test_each_case_is_named(alone, case):
    """A test with a key in its head has a case per value, and those that failed are named with their line."""
    key, cases, failed = CASES[case]
    tested = alone(f"package a\n\ntest_x{key} if {{\n\t{cases}\n\ttc.x == 1\n}}\n")
    assert tested.result is (Result.FAIL if failed else Result.PASS)
    bad = [each for each in tested.cases if each.result is Result.FAIL]
    assert [each.name for each in bad] == failed
    assert {each.line for each in bad} <= {5}
    assert len(tested.cases) >= 2
    assert all(name in tested.message for name in failed)


def test_a_case_in_which_a_builtin_erred_is_named(alone):
    """Such a case is undefined, so it failed like any other; the same in every part of the report."""
    tested = alone('package a\ntest_x[i] if {\n\tsome i, x in ["1", "z"]\n\tprint(i)\n\tto_number(x) == 1\n}\n')
    assert tested.result is Result.FAIL
    assert tested.message == "1 of 2 cases failed: 1 (line 5)"
    undefined = alone('package a\ntest_x if to_number("z") == 1\n')
    assert undefined.message == 'undefined at line 2: test_x if to_number("z") == 1'


@pytest.mark.slow
def test_a_trace_too_large_takes_no_result_away(run):
    """A test that fails after much work still fails; one with cases is an error; the next one has its worker."""
    work = "count([1 | some i in numbers.range(1, 50000); some j in [1, 2]; i * j > 0]) == 1"
    text = f"package a\ntest_long if {work}\ntest_cases[i] if {{\n\tsome i in [1]\n\t{work}\n}}\ntest_last if true\n"
    report = run({"a.rego": text}, timeout_s=5)
    assert results(report) == {"a.test_long": "fail", "a.test_cases": "error", "a.test_last": "pass"}
    assert "too large" in report.tests[0].message


def test_builtin_errors_are_undefined_unless_asked_for(alone):
    """As in `opa test`; strictly, such a test is an error that names the place."""
    text = 'package a\ntest_x if not to_number("z")\n'
    assert alone(text).result is Result.PASS
    strict = alone(text, builtin_errors=BuiltinErrors.ERROR)
    assert strict.result is Result.ERROR
    assert strict.message.startswith("a.rego:2: eval_builtin_error: to_number")


def test_a_file_that_does_not_compile_stops_no_other(run):
    """Syntax, unsafe variables and unknown functions are an error of their file, at their line."""
    report = run(
        {
            "good.rego": "package good\ntest_x if data.other.f(1)\n",
            "other.rego": "package other\nf(x) if x == 1\n",
            "syntax.rego": "package bad\ntest_x if {\n",
            "unsafe.rego": "package unsafe\n\ntest_x if x == 1\n",
            "needs.rego": "package needs\ntest_x if data.unsafe_lib.f(1)\n",
        }
    )
    assert results(report) == {
        "good.test_x": "pass",
        "syntax.rego": "error",
        "unsafe.rego": "error",
        "needs.rego": "error",
    }
    unsafe = next(tested for tested in report.tests if tested.file == "unsafe.rego")
    assert (unsafe.line, unsafe.message) == (3, "rego_unsafe_var_error: var x is unsafe")


def test_a_test_that_never_ends_stops_no_other(run):
    """It is an error after the time-out, its worker is replaced, and all others have their results."""
    text = """package a
test_first if true
test_endless if {
	some i, j in numbers.range(1, 1000000)
	some k in numbers.range(1, 1000000)
	i + j + k < 0
}
test_last if true
"""
    report = run({"a.rego": text}, timeout_s=2.5)
    assert results(report) == {"a.test_first": "pass", "a.test_endless": "error", "a.test_last": "pass"}
    assert report.tests[1].message == "did not end within 2.5 s"


def test_nobody_is_reached(run):
    """The worker has no network: a request is a builtin error; a mocked one is what the test says."""
    text = """package a
ask := http.send({"url": "http://127.0.0.1:1", "method": "GET"})
test_real if ask.status_code == 200
test_mocked if ask.status_code == 200 with http.send as {"status_code": 200}
"""
    assert results(run({"a.rego": text})) == {"a.test_real": "fail", "a.test_mocked": "pass"}


def test_v0_runs_unmodified(run):
    """Each file's version is found out; lines are those of the file."""
    old = """package old
import data.new

deny[msg] {
	input.bad
	msg := "bad"
}

test_deny { deny["bad"] with input as {"bad": true} }
test_wrong {
	count(deny) == 1
}
test_new { new.ok }
"""
    report = run({"old.rego": old, "new.rego": "package new\nok if true\n"})
    assert results(report) == {"old.test_deny": "pass", "old.test_wrong": "fail", "old.test_new": "pass"}
    assert report.tests[1].failed_line == 11
    refused = run({"old.rego": old, "new.rego": "package new\nok if true\n"}, rego=RegoVersion.V1)
    assert results(refused)["old.rego"] == "error"


def test_data_lies_at_the_path_of_its_folder(run):
    """JSON and YAML of any name; a date stays text, keys become text, and a pattern keeps a file out."""
    text = """package a
test_root if data.one == 1
test_json if data.deep.er.two == 2.5
test_yaml if data.deep.list == ["2020-01-01", true, 1.0, null]
test_key if data.deep["7"] == "seven"
test_hidden if not data[".hidden"]
test_ignored if not data.ignored
"""
    files = {
        "a_test.rego": text,
        "data.json": '{"one": 1}',
        "deep/er/x.json": '{"two": 2.5}',
        "deep/y.yml": "list: [2020-01-01, yes, 1.0, ~]\n7: seven\n",
        ".hidden/x.json": "{}",
        "ignored/x.yaml": "{{ no YAML",
    }
    report = run(files, ignore=("ignored",))
    assert report.ok, results(report)


BAD_DATA = {
    "no JSON": ("x.json", "{", 1, "Expecting"),
    "twice": ("x.json", '{"a": 1, "a": 2}', 1, "stands twice"),
    "a list at the root": ("x.json", "[1]", 1, "must be an object"),
    "a clash": ("x.yaml", "b: 2\none: 2\n", 1, "data.one"),
    "no YAML": ("x.yaml", "a: 1\nb: [\n", 3, ""),
    "a bomb": (
        "x.yaml",
        "a: &a [x]\n"
        + "".join(f"{c}: &{c} [{', '.join(['*' + p] * 9)}]\n" for p, c in zip("abcdefgh", "bcdefghi", strict=True)),
        1,
        "more than",
    ),
    "too deep": ("x.json", "[" * 100_000, 1, "deep"),
    "a tag": ("x.yaml", "a: !!python/object/apply:os.system [id]\n", 1, "could not determine a constructor"),
}


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data_is_an_error_of_its_file(run, case):
    """With the line where there is one; the tests are run all the same."""
    name, text, line, message = BAD_DATA[case]
    report = run({"a.rego": "package a\ntest_x if data.one == 1\n", "data.json": '{"one": 1}', name: text})
    assert results(report) == {"a.test_x": "pass", name: "error"}
    bad = report.tests[-1]
    assert bad.line == line
    assert message in bad.message


def test_a_pattern_selects(run):
    """By the full name, as `opa test --run` does."""
    report = run({"authz.rego": POLICY, "authz_test.rego": TESTS}, run=re.compile(r"authz_test\.test_p"))
    assert results(report) == {"authz_test.test_post": "pass"}


def test_coverage_names_lines(run):
    """Lines of every file, over all tests together; a test in which a builtin erred is counted as unknown."""
    tests = 'package authz_test\ntest_post if data.authz.allow with input as {"path": ["users"], "method": "POST"}\n'
    report = run({"authz.rego": POLICY, "authz_test.rego": tests}, coverage=True)
    assert report.coverage is not None
    assert report.coverage.covered["authz.rego"] == {3, 4, 5}
    assert report.coverage.missed["authz.rego"] == {8, 10}
    assert report.coverage.percent == round(100 * 4 / 6, 2)
    document = report.to_json()["coverage"]
    assert document["files"]["authz.rego"]["covered"] == [{"start": {"row": 3}, "end": {"row": 5}}]
    text = 'package a\ntest_y if true\ntest_x if not to_number("z")\ntest_z if true\nother if false\n'
    erring = run({"a.rego": text}, coverage=True)
    assert erring.coverage is not None
    assert (erring.coverage.covered["a.rego"], erring.coverage.missed["a.rego"]) == ({2, 3, 4}, {5})
    assert erring.coverage.unknown == 0


@pytest.fixture
def report(run) -> Report:
    """One of everything, with signs in it that the forms must escape."""
    cases = r'some note in ["a<b>&\"%0A::", "#SKIP \u0007"]'
    odd = f'package odd\ntest_odd[note] if {{\n\t{cases}\n\tnote == concat("", ["z"])\n}}\n'
    return run({"authz.rego": POLICY, "authz_test.rego": TESTS, "odd, 100%.rego": odd, "bad.rego": "package"})


def test_junit_is_xml_that_counts(report):
    """Every test is a case; failures, errors and skipped are elements of their own; control characters are gone."""
    root = ET.fromstring(FORMS["junit"](report))  # noqa: S314 - our own text
    assert {name: root.attrib[name] for name in ("tests", "failures", "errors", "skipped")} == {
        "tests": "6",
        "failures": "2",
        "errors": "2",
        "skipped": "1",
    }
    assert len(root.findall("testsuite/testcase")) == 6
    assert len(root.findall("testsuite/testcase/failure")) == 2
    assert len(root.findall("testsuite/testcase/error")) == 2
    assert len(root.findall("testsuite/testcase/skipped")) == 1
    assert root.find("testsuite/testcase/system-out") is not None
    assert {suite.attrib["name"] for suite in root} == set(report.files)


def test_sarif_names_rule_and_place(report):
    """Only what failed or erred, each at its line, with a URI that is one."""
    (run,) = json.loads(FORMS["sarif"](report))["runs"]
    known = {rule["id"] for rule in run["tool"]["driver"]["rules"]}
    assert len(run["results"]) == 4
    assert {result["ruleId"] for result in run["results"]} == known
    places = [result["locations"][0]["physicalLocation"] for result in run["results"]]
    assert {place["artifactLocation"]["uri"] for place in places} >= {"authz_test.rego", "odd%2C%20100%25.rego"}
    assert all(place["region"]["startLine"] >= 1 for place in places)


def test_tap_has_a_line_per_test(report):
    """Numbered as planned; only a skipped test has a directive."""
    lines = FORMS["tap"](report).splitlines()
    assert lines[:2] == ["TAP version 14", "1..6"]
    told = [line for line in lines if re.match(r"(not )?ok \d+ - ", line)]
    assert [int(re.search(r"\d+", line)[0]) for line in told] == [1, 2, 3, 4, 5, 6]
    assert sum(line.startswith("not ok") for line in told) == 4
    assert [line for line in told if line.endswith(" # SKIP")] == ["ok 4 - authz_test.todo_test_later # SKIP"]


def test_github_annotates_lines(report):
    """One command per line of output, whatever is in the messages."""
    lines = FORMS["github"](report).splitlines()
    assert len(lines) == 5
    assert all(re.match(r"::(error|notice)( file=[^,:]+,line=\d+,title=[^,:]+)?::", line) for line in lines)
    assert any("file=odd%2C 100%25.rego,line=4" in line for line in lines)


@pytest.mark.slow
def test_two_thousand_tests_compile_once(run):
    """A hundred files with twenty tests each, in seconds."""
    files = {}
    for number in range(100):
        rules = "".join(f"deny contains {n} if input.kind == {n}\n" for n in range(10))
        tests = "".join(
            f'test_{n}_{what} if {{\n\tcount(p.deny) == {count} with input as {{"kind": {kind}}}\n}}\n'
            for n in range(10)
            for what, count, kind in (("yes", 1, n), ("no", 0, n + 100))
        )
        files[f"p{number}.rego"] = f"package p{number}\n{rules}"
        files[f"p{number}_test.rego"] = f"package p{number}_test\nimport data.p{number} as p\n{tests}"
    began_s = time.monotonic()
    report = run(files)
    assert report.counts[Result.PASS] == len(report.tests) == 2_000
    assert time.monotonic() - began_s < 30
