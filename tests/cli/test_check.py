from __future__ import annotations

import re
import time

import pytest

from mandamus.kernel.errors import Exit

GOOD = b"workflow: w\nsteps:\n  a:\n    script: {run: 'true'}\n"
PLACE = re.compile(r"(?P<file>[^:]+):(?P<line>\d+):(?P<col>\d+): (?P<code>[a-z-]+): (?P<message>.+) \((?P<remedy>.+)\)")
SECONDS_MAX = 1.0

BOMB = b"a: &a [x]\n" + b"".join(b"%c: &%c [%s]\n" % (c, c, b",".join([b"*%c" % (c - 1)] * 9)) for c in range(98, 118))
BAD = {
    "alias bomb": (BOMB, 1, 4, "refused-yaml"),
    "a million aliases": (b"a: &a 1\nb: [" + b",".join([b"*a"] * 1_000_000) + b"]\n", 1, 4, "refused-yaml"),
    "100,000 deep": (b"[" * 100_000, 1, None, "limit"),
    "100,000 maps deep": (b"{a: " * 100_000, 1, None, "limit"),
    "3,000 indents": (b"".join(b" " * n + b"a:\n" for n in range(2_000)), None, None, "limit"),
    "NUL": (b"workflow: w\x00\n", 1, 12, "hidden-character"),
    "escape sequence": (b"workflow: w\n\x1b[31m: x\n", 2, 1, "hidden-character"),
    "bidirectional override": ("workflow: w\n# \u202e\n".encode(), 2, 3, "hidden-character"),
    "tabs": (b"workflow: w\nsteps:\n\ta:\n", 3, 1, "syntax"),
    "a 10 MB scalar": (b"workflow: w\ndescription: " + b"y" * 10_000_000, 1, 1, "limit"),
    "duplicate keys": (b"workflow: w\nsteps: {}\nworkflow: v\n", 3, 1, "duplicate-key"),
    "a Python object": (b"workflow: !!python/object/apply:os.system ['id']\n", 1, 11, "refused-yaml"),
    "two documents": (GOOD + b"---\n" + GOOD, 5, 1, "refused-yaml"),
    "a merge key": (b"workflow: w\nsteps:\n  a:\n    <<: {}\n    script: {run: x}\n", 4, None, None),
    "not UTF-8": (b"workflow: \xff\n", 1, 11, "syntax"),
    "UTF-16": ("workflow: w\n".encode("utf-16"), 1, 1, "syntax"),
    "binary": (bytes(range(256)) * 1_000, None, None, None),
    "nothing": (b"", 1, 1, "syntax"),
    "a list": (b"- a\n", 1, 1, "wrong-type"),
    "an open quote": (b"workflow: 'w\n", None, None, "syntax"),
    "an unknown key": (GOOD.replace(b"script", b"scirpt"), 3, 3, "missing-key"),
    "a mistyped key": (GOOD + b"    need: [b]\n", 5, 5, "unknown-key"),
    "a cycle": (GOOD + b"    needs: [b]\n  b:\n    needs: [a]\n    script: {run: x}\n", 5, 13, "cycle"),
    "a need of nothing": (GOOD + b"    needs: [z]\n", 5, 13, None),
    "a hidden name": (b'workflow: w\nsteps:\n  "a\\u202e":\n    script: {run: x}\n', 3, 3, "wrong-value"),
    "an expression in a script": (GOOD.replace(b"true", b"rm ${{ inputs.x }}"), 4, None, None),
    "a deep expression": (GOOD + b"    if: ${{ " + b"(" * 900 + b"1" + b")" * 900 + b" }}\n", 5, None, "expression"),
}


@pytest.fixture
def check(bare, monkeypatch):
    """Checks a file of a project, by a path relative to the working folder."""
    bare.project.joinpath("workflows").mkdir(parents=True)
    bare.project.joinpath("mandamus.yaml").write_text("")
    monkeypatch.chdir(bare.project)

    def checked(data: bytes, *words: str):
        bare.project.joinpath("workflows", "w.yaml").write_bytes(data)
        return bare("check", *words)

    return checked


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_told_by_place_and_with_a_way_out(check, name):
    """Whatever stands in a file: exit 2, ``file:line:col: code: message (remedy)``, soon, and no traceback."""
    data, line, col, code = BAD[name]
    began_s = time.process_time()
    told = check(data)
    took_s = time.process_time() - began_s
    assert told.code == Exit.USAGE, told
    first = PLACE.fullmatch(told.out.splitlines()[0])
    assert first, told.out[:300]
    assert first["file"] == "workflows/w.yaml"
    assert line is None or int(first["line"]) == line, told.out[:300]
    assert col is None or int(first["col"]) == col, told.out[:300]
    assert code is None or first["code"] == code, told.out[:300]
    assert "Traceback" not in told.err
    assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", told.out + told.err)
    assert took_s < SECONDS_MAX


@pytest.mark.parametrize(
    "data",
    [GOOD, b"\xef\xbb\xbf" + GOOD, GOOD.replace(b"\n", b"\r\n"), GOOD.rstrip(b"\n")],
    ids=["plain", "BOM", "CRLF", "no end"],
)
def test_what_editors_write_is_read(check, data):
    """A byte order mark, CRLF and a missing last line feed are no problems."""
    assert check(data).out == "workflows/w.yaml: ok, w, 1 step\n"


def test_every_problem_is_told_at_once(check):
    """Nobody mends one problem to be told the next: all of them, in the file's order, and how many."""
    told = check(GOOD.replace(b"script", b"scirpt") + b"    need: [b]\nstepz: {}\n")
    lines = [int(PLACE.fullmatch(each)["line"]) for each in told.out.splitlines()]
    assert lines == sorted(lines)
    assert len(lines) >= 3
    assert told.err == f"{len(lines)} problems in 1 of 1 file\n"
    assert "did you mean `needs`?" in told.out


def test_scripts_get_the_problems_as_fields(check):
    """With ``--output json`` each problem has file, line, col, code, message and remedy; the exit code is the same."""
    told = check(BAD["duplicate keys"][0], "--output", "json")
    assert told.code == Exit.USAGE
    assert told.json["ok"] is False
    (file,) = told.json["files"]
    assert file["file"] == "workflows/w.yaml"
    assert file["problems"][0].keys() == {"file", "line", "col", "code", "message", "remedy"}
    good = check(GOOD, "--output", "json")
    assert good.code == Exit.OK
    assert good.json == {
        "ok": True,
        "files": [{"file": "workflows/w.yaml", "workflow": "w", "steps": 1, "problems": []}],
    }


def test_files_can_be_named(check, tmp_path):
    """A file that is named is checked wherever it is; one that is not there is a problem at its place."""
    check(GOOD)
    told = check(GOOD, "workflows/w.yaml", "gone.yaml")
    assert told.code == Exit.USAGE
    assert told.out.splitlines()[0] == "workflows/w.yaml: ok, w, 1 step"
    assert told.out.splitlines()[1].startswith("gone.yaml:1:1: not_found: No such file")
    assert check(GOOD, str(tmp_path)).out.startswith(f"{tmp_path}:1:1: not_found: Is a directory")


def test_a_project_without_workflows_says_what_to_do(check, bare):
    """An empty project is an error with the next command."""
    check(GOOD)
    bare.project.joinpath("workflows", "w.yaml").unlink()
    told = bare("check")
    assert told.code == Exit.FAILED
    assert "mandamus init" in told.err.replace(f" --home {bare.home}", "")


def test_a_broken_file_does_not_hide_a_good_one(check, bare):
    """Each workflow of a project is checked, whatever the others hold."""
    bare.project.joinpath("workflows", "z.yml").write_bytes(GOOD)
    told = check(BAD["100,000 deep"][0])
    assert told.code == Exit.USAGE
    assert "workflows/z.yml: ok, w, 1 step\n" in told.out
    assert told.err == "1 problem in 1 of 2 files\n"
