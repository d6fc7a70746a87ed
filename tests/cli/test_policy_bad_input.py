"""What people type and the files they name may be anything: an error with its place and an exit code, never a crash."""

from __future__ import annotations

import pytest

from mandamus.kernel.errors import Exit

CALM = 'package mandamus.plan\n\ndeny contains "no" if input.run.inputs.never\n'
SETS = {
    "syntax": ("q.rego", "package mandamus.plan\n\ndeny contains {\n", "q.rego:4"),
    "unsafe variable": ("q.rego", "package mandamus.plan\n\ndeny contains x if x > 1\n", "q.rego:3"),
    "recursion": ("q.rego", "package mandamus.plan\n\na if not a\n", "q.rego:3"),
    "unknown function": ("q.rego", "package mandamus.plan\n\ndeny contains nobody(1)\n", "q.rego:3"),
    "20k deep": ("q.rego", f"package mandamus.plan\n\nx := {'[' * 20_000}1{']' * 20_000}\n", "q.rego:3"),
    "100k deep data": ("data.json", '{"a":' + "[" * 100_000 + "]" * 100_000 + "}", "data.json:1"),
    "a key twice": ("data.json", '{"a": 1,\n"a": 2}', "data.json:"),
    "half a sign": ("data.json", '{"a": "\\ud800"}', "data.json:1"),
    "a NUL": ("q.rego", "package x\n\0\n", "q.rego:"),
    "5,000 digits": ("data.json", '{"a": ' + "9" * 5000 + "}", "data.json:1"),
    "2 GB": ("q.rego", None, "q.rego:1"),
}
INPUTS = {
    "a key twice": b'{"a": 1, "a": 2}',
    "100k deep": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deeper than a decision": b'{"a":' + b"[" * 100 + b"]" * 100 + b"}",
    "half a sign": b'{"a": "\\ud800"}',
    "no number": b'{"a": NaN}',
    "no text": b"\xff\xfe",
    "no object": b"[1]",
    "nothing": b"",
    "5,000 digits": b'{"a": ' + b"9" * 5000 + b"}",
    "2 GB": None,
}


@pytest.fixture
def set_of(tmp_path):
    """A folder with a sound file and one that is not."""

    def make(name):
        file, text, _ = SETS[name]
        folder = tmp_path / "bad"
        folder.mkdir(exist_ok=True)
        (folder / "p.rego").write_text(CALM)
        fill(folder / file, None if text is None else text.encode())
        return folder

    return make


def fill(path, data):
    """Write a file; without data one of 2 GB that takes no room."""
    with path.open("wb") as file:
        file.write(data or b"")
        if data is None:
            file.truncate(2 << 30)


def assert_told(told, codes, place=""):
    assert told.code in codes, told
    said = told.out + told.err
    assert place in said
    assert "Traceback" not in said
    assert "unexpected" not in told.err.split("\n")[0]


@pytest.mark.parametrize("name", SETS)
def test_a_set_that_is_none_is_told_with_its_place(bare, set_of, tmp_path, name):
    """By the tests, by the bundle that is not written, and by the evaluation."""
    folder, place = set_of(name), SETS[name][2]
    (tmp_path / "input.json").write_text("{}")
    assert_told(bare("policy", "test", str(folder)), {Exit.FAILED}, place)
    packed = tmp_path / "bad.tar.gz"
    assert_told(bare("policy", "bundle", "write", str(folder), "-o", str(packed)), {Exit.USAGE}, place)
    assert not packed.exists()
    asked = ("policy", "eval", str(folder), "--input", str(tmp_path / "input.json"), "--point", "plan")
    assert_told(bare(*asked), {Exit.USAGE}, place)


def test_an_input_that_is_none_is_told_with_its_name(bare, tmp_path):
    """Whatever the file holds; the same input made right is judged."""
    folder, file = tmp_path / "set", tmp_path / "input.json"
    folder.mkdir()
    (folder / "p.rego").write_text(CALM)
    asked = ("policy", "eval", str(folder), "--input", str(file), "--point", "plan")
    for name, data in INPUTS.items():
        fill(file, data)
        told = bare(*asked)
        assert_told(told, {Exit.USAGE}, "input")
        assert told.out == "", name
    file.write_text('{"run": {"inputs": {"n": 9007199254740993, "text": "a\\u0000b"}}}')
    assert bare(*asked).code == Exit.OK
    file.write_text('{"run": {"inputs": {"never": true}}}')
    assert bare(*asked).code == Exit.DENIED


def test_a_home_with_a_bad_set_stays_as_it_was(shell):
    """Applying is refused with every place, and the set that was there goes on to judge."""
    rules = shell.project / "policy"
    for name in ("syntax", "20k deep", "100k deep data", "a key twice", "2 GB"):
        file, text, place = SETS[name]
        fill(rules / file, None if text is None else text.encode())
        assert_told(shell("env", "apply", str(shell.project / "platform.yaml")), {Exit.USAGE}, place)
        (rules / file).unlink()
    assert shell("env", "apply", str(shell.project / "platform.yaml")).code == Exit.OK
    assert shell.ask("--detach").code == Exit.OK
