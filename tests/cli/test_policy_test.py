"""``mandamus policy test``: what it says and how it ends."""

from __future__ import annotations

import json
from xml.etree import ElementTree as ET

import pytest

from mandamus.kernel.errors import Exit

GOOD = """package a

deny contains "no" if input.bad

test_good if "no" in deny with input as {"bad": true}
"""
BAD = (
    GOOD
    + """
test_bad if {
	print("\\u001b[2Jgone", "\\u202e")
	count(deny) == 1
}
"""
)


@pytest.fixture
def folder(tmp_path):
    """Makes a folder with one file of Rego."""

    def make(text: str):
        (tmp_path / "a.rego").write_text(text)
        return str(tmp_path)

    return make


def test_it_needs_no_home(bare, folder):
    """Tests of policy are run wherever the files are; nothing is made."""
    told = bare("policy", "test", folder(GOOD))
    assert told.code == Exit.OK, told
    assert told.err.startswith("1 passed in ")
    assert not bare.home.exists()


def test_a_failure_is_exit_code_1(bare, folder):
    """With the place, what failed and what was printed; nothing a terminal would act on."""
    where = folder(BAD)
    told = bare("policy", "test", where)
    assert told.code == Exit.FAILED
    lines = told.out.splitlines()
    assert lines[0] == f"FAIL a.test_bad {where}/a.rego:9"
    assert lines[1] == "    undefined at line 9: count(deny) == 1"
    assert "gone" in lines[2]
    assert "\x1b" not in told.out
    assert "1 passed, 1 failed" in told.err


def test_json_is_one_document(bare, folder):
    """With the counts, the tests and the files."""
    told = bare("policy", "test", folder(BAD), "--output", "json", "--coverage")
    assert told.code == Exit.FAILED
    document = told.json
    assert (document["passed"], document["failed"], document["errors"], document["skipped"]) == (1, 1, 0, 0)
    assert {test["name"]: test["result"] for test in document["tests"]} == {"test_good": "pass", "test_bad": "fail"}
    assert document["files"][0]["failed"] == 1
    assert document["coverage"]["covered_lines"] > 0


def test_no_test_is_exit_code_2(bare, folder):
    """A folder without tests, or a pattern without a match, is never taken for success."""
    for text, words in (("package a\n", []), (GOOD, ["--run", "nothing"])):
        told = bare("policy", "test", folder(text), *words)
        assert told.code == Exit.USAGE
        assert "no test was found" in told.err


def test_a_threshold_fails_what_passed(bare, folder):
    """Coverage below it is exit code 1, and is said."""
    where = folder(GOOD + "\nother if {\n\tinput.x == 1\n}\n")
    low = bare("policy", "test", where, "--threshold", "90")
    assert low.code == Exit.FAILED
    assert "less than 90%" in low.err
    assert bare("policy", "test", where, "--threshold", "20").code == Exit.OK


@pytest.mark.parametrize("form", ["junit", "sarif", "tap", "github"])
def test_other_forms_stand_alone(bare, folder, form):
    """Standard output holds that form and nothing else."""
    told = bare("policy", "test", folder(BAD), "--output", form)
    assert told.code == Exit.FAILED
    read = {
        "junit": ET.fromstring,
        "sarif": json.loads,
        "tap": lambda text: text.index("TAP version 14"),
        "github": lambda text: text.index("::error file="),
    }
    assert read[form](told.out) is not None


def test_a_mistake_is_a_usage_error(bare, folder):
    """A pattern that is none, a folder that is not there, a form that no other command has."""
    where = folder(GOOD)
    for words in (
        ["policy", "test", where, "--run", "("],
        ["policy", "test", where + "/nowhere"],
        ["policy", "test", where, "--timeout", "0"],
        ["policy", "test", where, "--output", "xml"],
        ["policy", "sets", "--output", "junit"],
    ):
        assert bare(*words).code == Exit.USAGE, words


def test_verbose_lists_what_passed(bare, folder):
    """Else only what failed is listed."""
    where = folder(GOOD)
    assert "PASS a.test_good" in bare("policy", "test", where, "--verbose").out
    assert "test_good" not in bare("policy", "test", where).out
