"""What every command promises: its exit code, one JSON document, and nothing that a terminal would act on."""

from __future__ import annotations

import re
import shutil

import pytest

from mandamus.kernel.errors import Exit

DANGEROUS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
EVIL = "x\x1b[2J\x1b]0;owned\x07\x1b[8mhidden\u202etxt\u200b\x9b31m\r\nnext: mandamus approve me"


@pytest.fixture(scope="module")
def ended(shared):
    """A run that succeeded, and its evidence."""
    told = shared.ask(says="canary")
    bundle = shared.home.parent / "bundle.zip"
    assert shared("evidence", "export", told.run, str(bundle)).code == Exit.OK
    return told.run, bundle


@pytest.fixture(scope="module")
def log(shared, ended, tmp_path_factory):
    """Makes a copy of the published log, changed by the function given; gives its folder and the key to trust."""

    def make(change):
        copy = tmp_path_factory.mktemp("log") / "log"
        shutil.copytree(shared.home / "log", copy)
        for path in copy.rglob("*"):
            path.chmod(0o700 if path.is_dir() else 0o600)
        change(copy)
        return str(copy), str(shared.home / "log" / "log.vkey")

    return make


def _entries(folder):
    return max(
        (path for path in folder.glob("tile/entries/**/*") if path.is_file()), key=lambda path: path.stat().st_size
    )


def _flip(folder) -> None:
    data = bytearray(_entries(folder).read_bytes())
    data[len(data) // 2] ^= 1
    _entries(folder).write_bytes(data)


def _verified(shared, log, change, trust: str | None = None):
    folder, vkey = log(change)
    return shared("audit", "verify", "--log", folder, "--trust", trust or vkey, home=False)


def test_the_table_of_exit_codes(shared, ended, log):
    """Each code of the table comes out of a real command: scripts may rely on the number alone."""
    run, bundle = ended
    other = "mandamus.home/0000000000000000+1f8f0e4c+AUs4lX5p1Sn5XZJ0rWn3P4uUkqF4gJ1mM3y6r7v9f0hK"
    codes = {
        Exit.OK: shared("runs", "watch", run),
        Exit.FAILED: shared.ask(code="1"),
        Exit.USAGE: shared("runs", "show", "nonsense"),
        Exit.WAITING: shared.ask(asked="true"),
        Exit.DENIED: shared.ask(public="true"),
        Exit.TAMPERED: _verified(shared, log, _flip),
        Exit.INCOMPLETE: _verified(shared, log, lambda folder: _entries(folder).unlink()),
        Exit.UNTRUSTED: _verified(shared, log, lambda _folder: None, other),
    }
    assert {wanted: told.code for wanted, told in codes.items()} == {wanted: wanted for wanted in codes}
    assert _verified(shared, log, lambda _folder: None).code == Exit.OK
    assert bundle.is_file()


@pytest.mark.parametrize(
    "words",
    [
        ["runs", "list"],
        ["runs", "show", "RUN"],
        ["runs", "logs", "RUN", "change"],
        ["runs", "watch", "RUN"],
        ["runs", "retry", "RUN"],
        ["runs", "cancel", "RUN"],
        ["approve", "RUN"],
        ["env", "list"],
        ["env", "show", "dev"],
        ["env", "show", "nowhere"],
        ["audit", "verify"],
        ["evidence", "verify", "BUNDLE"],
        ["doctor"],
        ["check", "nowhere.yaml"],
    ],
    ids=" ".join,
)
def test_data_is_one_document(shared, ended, words):
    """With ``--output json`` standard output is exactly one JSON document, whether it went well or not."""
    run, bundle = ended
    named = [{"RUN": run, "BUNDLE": str(bundle)}.get(word, word) for word in words]
    told = shared(*named, "--output", "json")
    assert isinstance(told.json, dict | list)
    assert "Traceback" not in told.err


def test_text_of_people_is_harmless_everywhere(shared):
    """A reason and an input full of control sequences are stored as they are and shown as text, in every command."""
    asked = shared.ask("--reason", EVIL, asked="true", says=EVIL)
    assert asked.code == Exit.WAITING, asked
    shared("approve", asked.run, "--reason", EVIL, as_="grace")
    for words in (["show", asked.run, "--full"], ["list"], ["logs", asked.run, "change"], ["watch", asked.run]):
        for tty in (False, True):
            told = shared("runs", *words, tty=tty)
            text = re.sub("\x1b\\[(?:[0-9;]*m|K)", "", told.out + told.err).replace("\r", "")
            assert not DANGEROUS.search(text), words
            assert not any(line.startswith("next: mandamus approve me") for line in told.err.splitlines())
            if words[0] != "logs":
                assert not any(line.startswith("next: mandamus approve me") for line in told.out.splitlines())
    found = shared("runs", "show", asked.run, "--output", "json")
    assert not DANGEROUS.search(found.out.replace("\n", ""))
    assert found.json["reason"] == EVIL
    assert found.json["inputs"]["says"] == EVIL


def test_no_colour_when_asked_for_none(shared):
    """NO_COLOR leaves a terminal without a single control sequence; a terminal without it has colours."""
    coloured = shared("runs", "list", tty=True)
    shared.environ["NO_COLOR"] = "1"
    try:
        plain = shared("runs", "list", tty=True)
    finally:
        del shared.environ["NO_COLOR"]
    assert "\x1b[" in coloured.out
    assert "\x1b" not in plain.out + plain.err


def test_a_secret_is_in_no_output(shell):
    """What a step was given as a secret is in no log, page, document or error, although the step prints it."""
    canary = "s3cr3t-canary-0123456789"
    shell.environ["DEPLOY_TOKEN"] = canary
    platform = shell.project / "platform.yaml"
    platform.write_text(platform.read_text() + "    secrets: {token: {env: DEPLOY_TOKEN}}\n")
    assert shell("env", "apply", str(platform)).code == Exit.OK
    workflow = (
        "workflow: leak\nsteps:\n  leak:\n    script:\n"
        '      run: \'echo "token=$TOKEN"; echo "$TOKEN" | base64; exit 1\'\n'
        '      env: {TOKEN: "${{ secrets.token }}"}\n'
    )
    (shell.project / "workflows" / "leak.yaml").write_text(workflow)
    told = shell("run", "leak", "--env", "dev", "--project", str(shell.project), as_="ada")
    assert told.code == Exit.FAILED, told
    said = told.out + told.err
    for words in (["show", told.run, "--full"], ["logs", told.run, "leak"], ["list"]):
        for output in ("table", "json"):
            made = shell("runs", *words, "--output", output)
            said += made.out + made.err
    said += shell("env", "show", "dev").out
    assert "token=" in said
    assert canary not in said
    assert "czNjcjN0LWNhbmFyeS" not in said
