"""Nothing reads a clock, an environment variable or a random source except through what bootstrap hands in."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

EVERYTHING = "*"
ALLOWED = {
    "src/mandamus/__main__.py": {EVERYTHING: "the entry points look at the process they are, and hand it on"},
    "src/mandamus/bootstrap/": {EVERYTHING: "the one place where things are built"},
    "src/mandamus/executors/http_child.py": {"time.monotonic": "a child program holds its own deadline"},
    "src/mandamus/policy/worker.py": {"time.process_time": "a child program bounds the CPU time of its own process"},
}
"""By file, or folder: what it may read, with the reason."""

CLOCKS = {
    f"time.{name}" for name in ("time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns")
}
CLOCKS |= {f"time.{name}" for name in ("process_time", "thread_time", "clock_gettime", "localtime", "gmtime", "ctime")}
CLOCKS |= {"datetime.datetime.now", "datetime.datetime.utcnow", "datetime.datetime.today", "datetime.date.today"}
VARIABLES = {"os.environ", "os.environb", "os.getenv", "os.getenvb", "os.path.expanduser", "os.path.expandvars"}
VARIABLES |= {"pathlib.Path.home", "shutil.which", "shutil.get_terminal_size", "getpass.getuser", "os.getlogin"}
VARIABLES |= {"urllib.request.getproxies", "tempfile.gettempdir"}
CHANCE = {"os.urandom", "os.getrandom", "uuid.uuid1", "uuid.uuid4", "uuid.uuid6", "uuid.uuid7", "uuid.uuid8"}
MODULES = {"random", "secrets"}
STARTS = {f"subprocess.{name}" for name in ("Popen", "run", "call", "check_call", "check_output")}


def origins(tree: ast.Module) -> dict[str, str]:
    """What each imported name stands for, dotted."""
    found = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                found[alias.asname or alias.name.partition(".")[0]] = (
                    alias.name if alias.asname else alias.name.partition(".")[0]
                )
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            for alias in node.names:
                found[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    return found


def dotted(node: ast.AST, known: dict[str, str]) -> str:
    """The full name of ``a.b.c`` when ``a`` was imported, else an empty text."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if not isinstance(node, ast.Name) or node.id not in known:
        return ""
    return ".".join([known[node.id], *reversed(parts)])


def must_be_handed_in(name: str) -> bool:
    """Whether a full name is a source of time, of chance, or of what the process was started with."""
    if name in CLOCKS | VARIABLES | CHANCE or name.partition(".")[0] in MODULES:
        return True
    return name.startswith("cryptography.") and name.rpartition(".")[2].startswith("generate")


def reads(tree: ast.Module) -> Iterator[tuple[ast.AST, str]]:
    """Every place that reads what must be handed in, with its name."""
    known = origins(tree)
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    told_where = {id(call.func) for call in calls if any(word.arg == "path" for word in call.keywords)}
    for node in ast.walk(tree):
        name = dotted(node, known) if isinstance(node, ast.Name | ast.Attribute) else ""
        # The module's own name is no use of it; the attribute around it is.
        if must_be_handed_in(name) and name not in MODULES and id(node) not in told_where:
            yield node, name
    for call in calls:
        if dotted(call.func, known) in STARTS and not any(word.arg in {"env", None} for word in call.keywords):
            yield call, f"{dotted(call.func, known)} without env"


def allowed(file: str, name: str) -> bool:
    """Whether a file may read it."""
    return any(file.startswith(start) and names.keys() & {EVERYTHING, name} for start, names in ALLOWED.items())


def test_nothing_is_read_that_was_not_handed_in(src):
    """Time, chance and the environment come by parameter, so that a test can hand in others and a run can be told."""
    found = [
        source.at(node, f"reads {name}")
        for source in src
        for node, name in reads(source.tree)
        if not allowed(source.name, name)
    ]
    assert not found, "\n".join(found)


def test_no_permission_outlives_its_reason(src):
    """Each exception is still used."""
    used = [(source.name, name) for source in src for _, name in reads(source.tree)]
    stale = [
        f"{start}: {name}"
        for start, names in ALLOWED.items()
        for name in names
        if not any(file.startswith(start) and name in {EVERYTHING, read} for file, read in used)
    ]
    assert not stale, "\n".join(stale)


SEEN = {
    "import time\ntime.time()": "time.time",
    "import time as t\nt.monotonic_ns()": "time.monotonic_ns",
    "from time import perf_counter as now\nnow()": "time.perf_counter",
    "from datetime import datetime\ndatetime.now()": "datetime.datetime.now",
    "import datetime\ndatetime.datetime.utcnow()": "datetime.datetime.utcnow",
    "import os\nos.environ['X']": "os.environ",
    "from os import environ\nenviron.get('X')": "os.environ",
    "import os\nread = os.getenv": "os.getenv",
    "import os\nos.urandom(3)": "os.urandom",
    "import random\nrandom.Random(1)": "random.Random",
    "from secrets import token_hex\nsecrets = token_hex\nimport secrets as s\ns.token_bytes(2)": "secrets.token_bytes",
    "import uuid\nuuid.uuid4()": "uuid.uuid4",
    "from pathlib import Path\nPath.home()": "pathlib.Path.home",
    "import shutil\nshutil.which('x')": "shutil.which",
    "import subprocess\nsubprocess.run(['x'])": "subprocess.run without env",
    "from cryptography.hazmat.primitives.ciphers.aead import AESGCM\nAESGCM.generate_key(256)": (
        "cryptography.hazmat.primitives.ciphers.aead.AESGCM.generate_key"
    ),
}


@pytest.mark.parametrize(("text", "name"), SEEN.items())
def test_the_scan_sees_through_names(text, name):
    """However a source of time, chance or variables is imported, its use is found."""
    assert name in [found for _, found in reads(ast.parse(text))]


UNSEEN = [
    "from mandamus.secrets import model as secrets\nsecrets.from_json({})",
    "import shutil\nshutil.which('x', path=p)",
    "import subprocess\nsubprocess.run(['x'], env=e)",
    "from datetime import datetime, UTC\ndatetime.fromtimestamp(1, UTC)",
    "import os\nos.environment",
    "clock.time()",
]


@pytest.mark.parametrize("text", UNSEEN)
def test_the_scan_lets_other_names_be(text):
    """What only looks alike is no finding."""
    assert list(reads(ast.parse(text))) == []
