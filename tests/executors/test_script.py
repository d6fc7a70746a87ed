from __future__ import annotations

import dataclasses
import sys
import threading
import time
from decimal import Decimal
from pathlib import Path

import pytest

from mandamus.executors import marks, script_outputs
from mandamus.executors.model import Cancel, Marks, SandboxPolicy, Toolbox, Verdict
from mandamus.executors.process import build_runner
from mandamus.executors.script import ENV_BYTES_MAX, build
from mandamus.kernel import canonical
from mandamus.kernel.changeset import Action, Confidence
from mandamus.kernel.document import parse
from mandamus.kernel.errors import Code, MandamusError

SECRET = "correct-horse-battery-staple"
MODES = ("required", "none")


# A shell forgets an interrupt that comes right before it waits for a program, unless it has a trap and looks again.
UNTIL_TOLD = "trap 'exit 130' INT; while :; do sleep 0.05; done"


@pytest.fixture
def script(runner):
    return build(Toolbox(runner, {}))


@pytest.fixture
def play(script, make_task, tmp_path):
    """Plans and applies a spec as a run does: two tasks, the blob between them."""
    count = iter(range(1_000_000))

    def do(*, then=None, **fields):
        fields.setdefault("workdir", tmp_path / f"work{next(count)}")
        planned = script.plan(make_task(phase="plan", **fields))
        task = make_task(**{**fields, **(then or {})})
        return task, script.apply(task, planned.blob)

    return do


def problems(script, text: str) -> list[str]:
    return [str(problem) for problem in script.validate(parse(text.encode(), "w.yaml"))]


def refused(call, *arguments) -> MandamusError:
    with pytest.raises(MandamusError) as error:
        call(*arguments)
    return error.value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("run: 'true'", ""),
        ("{run: x, env: {A: 1, B: true, C: 1.5, D: '', E: '${{ inputs.e }}'}, shell: bash, dir: ../x}", ""),
        ("{}", "`script` needs the key `run`"),
        ("run: ''", "`run` is empty"),
        ("run: [a]", "`run` is a string, not list"),
        ("{run: x, envs: {}}", "did you mean `env`?"),
        ("{run: x, shell: zsh}", "`shell` cannot be `zsh`"),
        ("{run: x, shell: '${{ inputs.s }}'}", "`shell` cannot hold an expression"),
        ("{run: x, dir: '${{ inputs.s }}'}", "`dir` cannot hold an expression"),
        ("{run: x, env: [A]}", "`env` is a map, not list"),
        ("{run: x, env: {A-B: x}}", "`A-B` is no name for a variable"),
        ("{run: x, env: {'': x}}", "`` is no name for a variable"),
        ("{run: x, env: {'A=B': x}}", "`A=B` is no name for a variable"),
        ("{run: x, env: {MANDAMUS_RUN: x}}", "`MANDAMUS_RUN` is the platform's own"),
        ("{run: x, env: {A: null}}", "not null"),
        ("{run: x, env: {A: [1]}}", "not list"),
        ("{run: x, env: {A: {b: 1}}}", "not map"),
    ],
)
def test_a_spec_is_checked_before_anything_runs(script, text, expected):
    """Every mistake in a step's spec is told with its place; a right one has no problem."""
    found = problems(script, text)
    if not expected:
        assert found == []
    else:
        assert len(found) == 1
        assert expected in found[0]
        assert found[0].startswith("w.yaml:1:")


def test_the_plan_is_the_exact_request_and_says_that_it_is_opaque(script, make_task):
    """One change, ``run``, opaque, bound to the blob's digest; planning runs nothing and is the same every time."""
    spec = {"run": ": > planned\n", "env": {"B": "2", "A": 1}, "shell": "bash"}
    task = make_task(phase="plan", spec=spec)
    planned = script.plan(task)
    (change,) = planned.change_set.changes
    assert (change.address, change.action, change.confidence) == ("step", Action.RUN, Confidence.OPAQUE)
    assert planned.change_set.fidelity is Confidence.OPAQUE
    assert change.after == {"run": ": > planned\n", "env": {"A": "1", "B": "2"}, "shell": "bash", "dir": "."}
    assert planned.change_set.artifact == {
        "kind": "request",
        "sha256": canonical.digest(planned.blob).removeprefix("sha256:"),
    }
    assert planned.lock == {"tool": "script", "shell": "bash"}
    assert script.plan(task).blob == planned.blob
    assert not task.workdir.exists()
    for other in ({**spec, "run": ": > planned"}, {**spec, "env": {"B": "2"}}, {**spec, "shell": "sh"}):
        assert script.plan(make_task(phase="plan", spec=other)).blob != planned.blob


def test_the_change_set_says_how_it_will_be_walled_in(script, make_task):
    """An approver sees whether a step runs with a sandbox or without."""
    for mode in MODES:
        task = make_task(spec={"run": "true"}, sandbox=SandboxPolicy(mode=mode))
        assert script.plan(task).change_set.sandbox == mode


def test_what_is_applied_is_what_was_planned_not_what_the_spec_says_now(play):
    """Between plan and apply a value moved: the planned one runs."""
    task, applied = play(
        spec={"run": 'echo "planned $A"', "env": {"A": "one"}},
        then={"spec": {"run": 'echo "moved $A"', "env": {"A": "two"}}},
    )
    assert applied.ok
    assert task.output.text == "planned one\n"


def test_a_secret_is_in_the_script_and_nowhere_else(script, make_task, play):
    """The value reaches the script; plan, change set, output, error and outputs hold a mark in its place."""
    spec = {
        "run": 'test "$TOKEN" = "Bearer '
        + SECRET[:9]
        + '""'
        + SECRET[9:]
        + '"; echo "$TOKEN"; echo fail $TOKEN >&2; exit 3',
        "env": {"TOKEN": f"Bearer {SECRET}", "OPEN": "x"},
    }
    planned = script.plan(make_task(phase="plan", spec=spec, secrets={"token": SECRET}))
    assert SECRET.encode() not in planned.blob
    assert SECRET.encode() not in planned.change_set.to_bytes()
    assert planned.change_set.changes[0].sensitive == ("/env/TOKEN",)
    assert planned.change_set.changes[0].after["env"]["TOKEN"].startswith("Bearer redacted:")
    task, applied = play(spec=spec, secrets={"token": SECRET})
    assert task.output.text.startswith("Bearer redacted:")
    assert applied.error.context["exit_code"] == 3
    assert SECRET not in str(applied.error.to_json())


def test_a_secret_that_changed_since_the_plan_stops_the_apply(script, make_task, play):
    """The plan binds the secret's value by a keyed digest; another value is not what was approved, and nothing runs."""
    spec = {"run": ": > ran", "env": {"TOKEN": SECRET}}
    blob = script.plan(make_task(phase="plan", spec=spec, secrets={"token": SECRET})).blob
    other = make_task(spec={**spec, "env": {"TOKEN": "another-value"}}, secrets={"token": "another-value"})
    error = refused(script.apply, other, blob)
    assert error.code is Code.DIGEST_MISMATCH
    assert "env.TOKEN" in error.message
    assert "another-value" not in str(error.to_json())
    gone = make_task(spec={"run": ": > ran", "env": {}}, secrets={"token": SECRET})
    assert refused(script.apply, gone, blob).code is Code.DIGEST_MISMATCH
    assert not (other.box / "ran").exists()


def test_a_secret_called_like_a_key_changes_nothing(play):
    """A secret whose value is a word of the request's own format is hidden where it is a value, and still arrives."""
    for secret in ("env_", "shell", "bash", "request", "true"):
        spec = {"run": 'printf "%s" "$A" | wc -c', "env": {"A": secret}, "shell": "bash"}
        task, applied = play(spec=spec, secrets={"s": secret})
        assert applied.ok, applied.error
        assert task.output.text.strip() == str(len(secret))


def test_a_blob_of_another_kind_is_refused(script, make_task):
    """Only a request of this executor is applied."""
    task = make_task(spec={"run": "true"})
    for blob in (b"[]", b"{}", b'{"format":"request/1","executor":"http","request":{},"secret":{}}'):
        assert refused(script.apply, task, blob).code is Code.DIGEST_MISMATCH


@pytest.mark.parametrize("mode", MODES)
def test_a_script_reads_the_project_and_writes_in_its_own_folder(play, tmp_path, mode):
    """It starts in the workflow's folder, may read the project, and leaves the run's copy of it as it was."""
    source = tmp_path / "source"
    (source / "workflows").mkdir(parents=True)
    (source / "data").mkdir()
    (source / "data" / "file").write_text("of the project")
    text = (
        "cat ../data/file; echo; pwd; echo x > $HOME/mine; echo x > $TMPDIR/mine\n"
        "echo changed 2>/dev/null > ../data/file || echo refused"
    )
    task, applied = play(spec={"run": f"set +e\n{text}"}, folder="workflows", sandbox=SandboxPolicy(mode=mode))
    assert applied.ok
    assert "of the project" in task.output.text
    assert "/workflows\n" in task.output.text
    assert (source / "data" / "file").read_text() == "of the project"
    assert (task.box / "mine").read_text() == "x\n"
    assert ("refused" in task.output.text) == (mode == "required")
    other, applied = play(spec={"run": "pwd", "dir": "../data"}, folder="workflows", sandbox=SandboxPolicy(mode=mode))
    assert other.output.text.endswith("/data\n")


@pytest.mark.parametrize("folder", ["../..", "/etc", "missing", "../source/../..", "link", "file"])
def test_no_folder_outside_the_project_can_be_named(script, make_task, tmp_path, folder):
    """``dir`` is a folder of the project; a way out, by dots or by a link, is refused when planning."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "link").symlink_to("/etc")
    (source / "file").write_text("x")
    error = refused(script.plan, make_task(spec={"run": "true", "dir": folder}))
    assert error.code is Code.SOURCE_INVALID


def test_each_shell_runs_and_stops_at_the_first_failure(play):
    """``sh`` and ``bash`` stop where a command fails, bash also inside a pipe; ``python3`` is Python."""
    for shell, text in [("sh", "false; echo on"), ("bash", "false; echo on"), ("bash", "false | true; echo on")]:
        task, applied = play(spec={"run": text, "shell": shell})
        assert not applied.ok
        assert task.output.text == ""
    task, _ = play(spec={"run": 'echo "${BASH_VERSION%%.*}"', "shell": "bash"})
    assert int(task.output.text) >= 4
    task, _ = play(spec={"run": "import os\nprint(os.environ['A'])", "env": {"A": "ü"}, "shell": "python3"})
    assert task.output.text == "ü\n"


def test_a_script_of_any_size_runs(play):
    """The text comes as a file, so neither the length of an argument nor the process list is touched."""
    filler = "# " + "x" * 200_000
    task, applied = play(
        spec={"run": f"{filler}\ncat /proc/*/cmdline | tr '\\0' '\\n' | grep -c '[x]xx' || true\necho end"}
    )
    assert applied.ok
    assert task.output.text == "0\nend\n"


def test_a_script_knows_its_run_and_nothing_of_the_platform(play, monkeypatch):
    """The environment is the step's, a small path, a home of its own, and who it is; nothing of ours."""
    monkeypatch.setenv("PLANTED", "canary")
    task, _ = play(spec={"run": "env", "env": {"LANG": "C"}})
    found = dict(line.split("=", 1) for line in task.output.text.splitlines())
    box = str(task.box)
    assert {name: found[name] for name in ("HOME", "TMPDIR", "LANG")} == {
        "HOME": box,
        "TMPDIR": f"{box}/tmp",
        "LANG": "C",
    }
    assert (found["MANDAMUS_RUN"], found["MANDAMUS_STEP"], found["MANDAMUS_ATTEMPT"]) == ("run_0", "step", "1")
    known = {"PATH", "HOME", "TMPDIR", "LANG", "PWD", "OLDPWD", "SHLVL", "_"}
    assert {name for name in found if not name.startswith("MANDAMUS_")} <= known


def test_a_failure_tells_the_code_and_the_last_words(play):
    """The error has the exit code, the last line in its message and the last lines in its context."""
    _, applied = play(spec={"run": "for i in $(seq 100); do echo line $i; done; echo 'it broke' >&2; exit 7"})
    assert not applied.ok
    assert applied.partial
    assert applied.error.code is Code.TOOL_FAILED
    assert applied.error.message == "the script of step step ended with exit code 7: it broke"
    assert applied.error.context["exit_code"] == 7
    lines = applied.error.context["output"].splitlines()
    assert lines[-1] == "it broke"
    assert len(lines) == 20
    _, applied = play(spec={"run": "kill -KILL $$"})
    assert "was killed by signal 9" in applied.error.message
    _, applied = play(spec={"run": "printf 'a\\033[31mred\\007\\n'; exit 1"})
    assert applied.error.message.endswith(": a [31mred")


def test_a_time_out_and_a_cancel_are_told_apart(script, play, make_task, tmp_path):
    """A step that ran too long failed; one told to stop was cancelled; one that never began changed nothing."""
    _, applied = play(spec={"run": UNTIL_TOLD}, deadline_s=0.3)
    assert applied.error.code is Code.STEP_TIMEOUT
    assert "after 0.3 s" in applied.error.message
    assert applied.partial
    cancel = Cancel()
    task = make_task(spec={"run": f"echo up; {UNTIL_TOLD}"}, cancel=cancel)
    blob = script.plan(task).blob
    results = []
    thread = threading.Thread(target=lambda: results.append(script.apply(task, blob)))
    thread.start()
    end_s = time.monotonic() + 60
    while "up" not in task.output.text:
        assert time.monotonic() < end_s
        time.sleep(0.01)
    cancel.set()
    thread.join(50)  # less than the grace, after which a second interrupt would hide that the first was lost
    assert results[0].error.code is Code.STEP_CANCELLED
    assert results[0].partial
    fresh = dataclasses.replace(task, workdir=tmp_path / "fresh")
    applied = script.apply(fresh, blob)
    assert applied.error.code is Code.STEP_CANCELLED
    assert not applied.partial


def test_values_without_a_text_form_and_values_linux_cannot_pass_stop_the_plan(script, make_task):
    """A list, a map, null, a NUL or too much is an error with the variable's name, before anybody approves."""
    for value, why in [
        ([1], "env A is a list"),
        ({"b": 1}, "env A is a map"),
        (None, "env A is null"),
        ("x\0y", "'A'"),
        ("x" * 200_000, "'A'"),
    ]:
        error = refused(script.plan, make_task(spec={"run": "true", "env": {"A": value}}))
        assert error.code is Code.VALUE_INVALID
        assert why in error.message
    many = {f"A{index}": "x" * 100_000 for index in range(ENV_BYTES_MAX // 100_000 + 1)}
    assert "over 1048576" in refused(script.plan, make_task(spec={"run": "true", "env": many})).message
    assert refused(script.plan, make_task(spec={"run": "true", "env": {"A": "\ud800"}})).code is Code.VALUE_INVALID


def test_scalars_reach_the_script_as_a_shell_writes_them(play):
    """Booleans, numbers and text arrive as text; a fraction keeps its digits."""
    env = {"A": True, "B": False, "C": 12, "D": Decimal("1.50"), "E": "", "F": 2**70}
    task, _ = play(spec={"run": 'echo "$A,$B,$C,$D,$E,$F"', "env": env})
    assert task.output.text == f"true,false,12,1.50,,{2**70}\n"


def test_outputs_are_what_the_script_wrote(play):
    """Lines of NAME=value, values of several lines, or one JSON object; no file means no outputs."""
    _, applied = play(
        spec={"run": 'echo "A=1=2" >> $MANDAMUS_OUTPUT; printf "B<<END\\none\\n\\ntwo\\nEND\\nC=" >> $MANDAMUS_OUTPUT'}
    )
    assert applied.outputs == {"A": "1=2", "B": "one\n\ntwo", "C": ""}
    _, applied = play(
        spec={"run": """echo '{"n": 1.50, "list": [1, "a", null], "deep": {"x": true}}' > $MANDAMUS_OUTPUT"""}
    )
    assert applied.outputs == {"n": Decimal("1.50"), "list": [1, "a", None], "deep": {"x": True}}
    _, applied = play(spec={"run": "true"})
    assert applied.outputs == {}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", {}),
        (b"\n\n", {}),
        (b"A=1", {"A": "1"}),
        (b"A=1\nA=2\n", {"A": "2"}),
        (b"A= 1 \r\n", {"A": " 1 \r"}),
        (b"A=x<<y\n", {"A": "x<<y"}),
        (b"A<<E\nE\n", {"A": ""}),
        (b"A<<E\nB=1\nE\nC=2", {"A": "B=1", "C": "2"}),
        ("A=ü\u2028x\n".encode(), {"A": "ü\u2028x"}),
        (b' {"A": 9007199254740993}', {"A": 9007199254740993}),
    ],
)
def test_output_files_read_exactly(data, expected):
    """Values come out byte for byte as they were written."""
    assert script_outputs.parse(data) == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("echo hello > $MANDAMUS_OUTPUT", "line 1 is no NAME=value"),
        ("printf 'A=1\\n1B=2\\n' > $MANDAMUS_OUTPUT", "line 2 is no NAME=value"),
        ("printf 'A<<END\\nx\\n' > $MANDAMUS_OUTPUT", "no line 'END' closes"),
        ("printf 'A<<\\nx\\n' > $MANDAMUS_OUTPUT", "line 1 begins"),
        ("printf '\\377=1\\n' > $MANDAMUS_OUTPUT", "not UTF-8"),
        ("echo '{\"A\": ' > $MANDAMUS_OUTPUT", "not canonical JSON"),
        ('echo \'{"A": 1, "A": 2}\' > $MANDAMUS_OUTPUT', "stands twice"),
        ('echo \'{"A": "\\ud800"}\' > $MANDAMUS_OUTPUT', "not canonical JSON"),
        ("echo '{\"a b\": 1}' > $MANDAMUS_OUTPUT", "is no name"),
        (
            "printf '{\"A\":%s%s}' $(printf '[%.0s' $(seq 51)) $(printf ']%.0s' $(seq 51)) > $MANDAMUS_OUTPUT",
            "levels deep",
        ),
        ("for i in $(seq 257); do echo A$i=1; done > $MANDAMUS_OUTPUT", "257 names; at most 256"),
        ("head -c 2000000 /dev/zero > $MANDAMUS_OUTPUT", "over 1048576 bytes"),
        ("ln -s /etc/passwd $MANDAMUS_OUTPUT", "symbolic links"),
        ("mkfifo $MANDAMUS_OUTPUT", "no regular file"),
        ("mkdir $MANDAMUS_OUTPUT", "Is a directory"),
    ],
)
def test_hostile_outputs_fail_the_step_and_nothing_else(play, text, why):
    """What is no outputs file is not followed, not waited for, not read whole; the error says that the script ran."""
    _, applied = play(spec={"run": text})
    assert not applied.ok
    assert applied.partial
    assert applied.error.code is Code.VALUE_INVALID
    assert why in applied.error.message
    assert "has run" in applied.error.remedy


def test_a_probe_tells_what_became_of_a_script(script, make_task, play):
    """By the marks alone: never started, ended well or badly, outputs included, or nobody knows."""
    task, applied = play(spec={"run": "echo A=1 > $MANDAMUS_OUTPUT"})
    found = script.probe(task, b"")
    assert (found.verdict, found.outputs) == (Verdict.SUCCEEDED, applied.outputs)
    task, _ = play(spec={"run": "exit 3"})
    found = script.probe(task, b"")
    assert (found.verdict, found.detail) == (Verdict.FAILED, "the script ended with exit code 3")
    task, _ = play(spec={"run": UNTIL_TOLD}, deadline_s=0.2)
    assert script.probe(task, b"").verdict is Verdict.FAILED
    task, _ = play(spec={"run": "echo bad > $MANDAMUS_OUTPUT"})
    assert script.probe(task, b"").verdict is Verdict.FAILED
    assert script.probe(make_task(), b"").verdict is Verdict.NOT_STARTED
    begun = make_task()
    marks.started(Marks(begun.marks, begun.phase))
    assert script.probe(begun, b"").verdict is Verdict.UNKNOWN


def test_a_missing_sandbox_is_told_when_planning(make_task, real_clock, tmp_path):
    """Nobody is asked to approve what cannot be run on this machine."""
    runner = build_runner(real_clock, {"PATH": str(tmp_path)}, Path(sys.executable))
    error = refused(build(Toolbox(runner, {})).plan, make_task(spec={"run": "true"}))
    assert error.code is Code.SANDBOX_UNAVAILABLE
