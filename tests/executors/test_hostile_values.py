from __future__ import annotations

import json
import socket
import threading
import uuid
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mandamus.executors import http, script
from mandamus.executors.model import SandboxPolicy, Toolbox

# What has broken out of some product's parameter before: shells, templates, formats, paths, options, headers.
METACHARACTERS = [
    "; : > CANARY",
    "$(: > CANARY)",
    "`: > CANARY`",
    "' ; : > CANARY ; '",
    '" ; : > CANARY ; "',
    "\n: > CANARY\n",
    "\r\n: > CANARY\r\n",
    "| : > CANARY",
    "&& : > CANARY",
    "${IFS}: > CANARY",
    "$((: > CANARY))",
    "() { :; }; : > CANARY",
    "-e CANARY",
    "--help",
    "-",
    "%n%s%x",
    "{{ 7 * 7 }}",
    "${{ secrets.x }}",
    "${jndi:ldap://127.0.0.1/a}",
    "#{7*7}",
    "<%= 7 * 7 %>",
    "../../../etc/passwd",
    "~root",
    "*",
    "\\",
    "\\0",
    "EOF",
    "NAME=value",
    "\t\v\f\x01\x1b[31m\x7f",
    "\ufeff\u2028\u202e\u200b",
    "\U0001f600e\u0301",
    "",
    " ",
    "\n",
]
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=200)
NASTY = st.one_of(st.sampled_from(METACHARACTERS), TEXT, st.lists(st.sampled_from(METACHARACTERS)).map("".join))
EXAMPLES = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
# Reads its variables and leaves them byte for byte in the box, beside an output file made by the documented form.
ECHO = """
printf '%s' "$A" > a; printf '%s' "$B" > b
printf 'B<<%s\\n%s\\n%s\\n' "$MARK" "$B" "$MARK" > "$MANDAMUS_OUTPUT"
"""


@pytest.fixture
def folder(tmp_path, make_task):
    """A new working folder for every example."""

    def new() -> Path:
        return tmp_path / uuid.uuid4().hex

    return new


def canaries(root: Path) -> list[Path]:
    """Canary files anywhere a value that became code would have left one."""
    return [*root.glob("**/CANARY"), *Path("/tmp").glob("CANARY"), *Path.cwd().glob("CANARY")]


@pytest.mark.parametrize("mode", ["required", "none"])
def test_any_value_reaches_a_script_byte_for_byte(runner, make_task, folder, tmp_path, mode):
    """Whatever stands in a variable is data: it arrives as it was sent, comes back as it came, and runs nothing."""
    executor = script.build(Toolbox(runner, {}))

    @settings(EXAMPLES, max_examples=25 if mode == "required" else 8)
    @given(first=NASTY, second=NASTY)
    def check(first: str, second: str) -> None:
        mark = f"END-{uuid.uuid4().hex}"
        spec = {"run": f"cd $HOME\n{ECHO}", "env": {"A": first, "B": second, "MARK": mark}}
        task = make_task(spec=spec, workdir=folder(), sandbox=SandboxPolicy(mode=mode))
        applied = executor.apply(task, executor.plan(task).blob)
        assert applied.ok, applied.error
        assert (task.box / "a").read_bytes() == first.encode()
        assert (task.box / "b").read_bytes() == second.encode()
        assert applied.outputs == {"B": second}

    check()
    assert canaries(tmp_path) == []


def test_any_metacharacter_reaches_every_shell_as_data(runner, make_task, folder, tmp_path):
    """The listed break-outs, all of them, through each shell there is."""
    executor = script.build(Toolbox(runner, {}))
    env = {f"V{index}": value for index, value in enumerate(METACHARACTERS)}
    reading = {
        "sh": "".join(f"printf '%s' \"$V{index}\" > {index}\n" for index in range(len(env))),
        "python3": "for i in range(int(os.environ['N'])): open(str(i), 'wb').write(os.environb[b'V%d' % i])\n",
    }
    reading["bash"] = reading["sh"]
    for shell, text in reading.items():
        start = "import os; os.chdir(os.environ['HOME'])\n" if shell == "python3" else "cd $HOME\n"
        spec = {"run": start + text, "shell": shell, "env": {**env, "N": len(env)}}
        task = make_task(spec=spec, workdir=folder())
        assert executor.apply(task, executor.plan(task).blob).ok
        found = [(task.box / str(index)).read_bytes() for index in range(len(env))]
        assert found == [value.encode() for value in METACHARACTERS]
    assert canaries(tmp_path) == []


@pytest.fixture
def echo():
    """A receiver that keeps the last request and answers with it as JSON."""
    server = socket.create_server(("127.0.0.1", 0))
    last: dict[str, bytes] = {}

    def serve() -> None:
        while True:
            try:
                sock, _ = server.accept()
            except OSError:
                return
            with sock:
                data = b""
                while b"\r\n\r\n" not in data:
                    data += sock.recv(65536)
                head, _, body = data.partition(b"\r\n\r\n")
                length = int(head.split(b"Content-Length: ")[1].split(b"\r\n")[0])
                while len(body) < length:
                    body += sock.recv(65536)
                last["head"], last["body"] = head, body
                answer = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
                sock.sendall(answer.encode() + body)

    thread = threading.Thread(target=serve)
    thread.start()
    yield server.getsockname()[1], last
    server.shutdown(socket.SHUT_RDWR)
    thread.join()
    server.close()


def test_any_value_reaches_a_receiver_byte_for_byte(runner, make_task, folder, echo, tmp_path):
    """In JSON, in a plain body and in a header, a value is data: it arrives as it was sent and adds no line."""
    port, last = echo
    executor = http.build(Toolbox(runner, {}))
    sandbox = SandboxPolicy(network=True, allow_private=("127.0.0.0/8",))

    @settings(EXAMPLES, max_examples=15)
    @given(value=NASTY, key=NASTY)
    def check(value: str, key: str) -> None:
        printable = "".join(char for char in value if char >= " " and char != "\x7f").strip(" ")
        base = {"method": "POST", "url": f"http://127.0.0.1:{port}/", "headers": {"X-Value": printable}}
        task = make_task(spec={**base, "json": {key: [value]}}, workdir=folder(), sandbox=sandbox)
        applied = executor.apply(task, executor.plan(task).blob)
        assert applied.ok, applied.error
        assert json.loads(last["body"]) == {key: [value]}
        assert applied.outputs["json"] == {key: [value]}
        lines = last["head"].split(b"\r\n")
        assert len(lines) == 10
        assert b"X-Value: " + printable.encode() in lines
        task = make_task(spec={**base, "body": value}, workdir=folder(), sandbox=sandbox)
        assert executor.apply(task, executor.plan(task).blob).ok
        assert last["body"] == value.encode()

    check()
    assert canaries(tmp_path) == []
