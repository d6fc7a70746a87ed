from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from mandamus.executors.model import Toolbox
from mandamus.executors.service import GROUP, Executors, load
from mandamus.kernel.document import parse
from mandamus.kernel.errors import Code, MandamusError

NODE = parse(b"run: 'true'\n", "w.yaml")

FINE = """
class Made:
    name = "{name}"
    def validate(self, node): return []
    def plan(self, task): ...
    def apply(self, task, blob): ...
    def probe(self, task, blob): ...
BUILT = []
def build(toolbox):
    BUILT.append(toolbox)
    return Made()
"""


@pytest.fixture
def offer(tmp_path, monkeypatch, runner):
    """Installs modules as third parties' plug-ins and gives the executors that come of them."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def do(**modules: str) -> Executors:
        points = []
        for name, text in modules.items():
            (tmp_path / f"plugin_{name}.py").write_text(text)
            sys.modules.pop(f"plugin_{name}", None)
            points.append(metadata.EntryPoint(name.replace("__", "-"), f"plugin_{name}:build", GROUP))
        return Executors(points, Toolbox(runner, {}))

    return do


def refused(call, *arguments) -> MandamusError:
    with pytest.raises(MandamusError) as error:
        call(*arguments)
    return error.value


def test_the_built_in_executors_come_by_the_same_door_as_any_other(runner):
    """What ships with the product is found through the entry-point group, under the names workflows use."""
    found = load(Toolbox(runner, {}))
    assert {"http", "script", "terraform"} <= set(found.names)
    for name in ("http", "script"):
        assert found.get(name).name == name
        assert found.get(name) is found.get(name)


def test_an_executor_is_built_once_and_only_when_asked_for(offer):
    """Nothing of a plug-in runs before a workflow uses it, and then it is built once."""
    found = offer(one=FINE.format(name="one"), two=FINE.format(name="two"))
    checks = found.validators()
    assert list(checks) == ["one", "two"]
    assert "plugin_one" not in sys.modules
    assert checks["one"](NODE) == []
    assert found.get("one") is found.get("one")
    assert len(sys.modules["plugin_one"].BUILT) == 1
    assert "plugin_two" not in sys.modules


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("import no_such_module_4711\n", "no_such_module_4711"),
        ("this is no python", "SyntaxError"),
        ("x = 1\n", "build"),
        ("def build(toolbox): raise RuntimeError('planted')\n", "planted"),
        ("def build(toolbox): return None\n", "has no validate"),
        (FINE.format(name="other"), "calls itself 'other'"),
    ],
)
def test_a_broken_plug_in_harms_only_who_uses_it(offer, text, why):
    """It is an error that names the plug-in, when a workflow asks for it; every other executor goes on working."""
    found = offer(broken=text, fine=FINE.format(name="fine"))
    assert found.get("fine").name == "fine"
    error = refused(found.get, "broken")
    assert error.code is Code.TOOL_MISSING
    assert "plugin_broken" in error.message
    assert why in error.message
    (problem,) = found.validators()["broken"](NODE)
    assert problem.file == "w.yaml"
    assert why in problem.message


def test_a_name_that_is_not_there_is_told_with_the_nearest(offer):
    """A mistyped executor gets the name that was meant, an unknown one the names there are."""
    found = offer(terraform=FINE.format(name="terraform"), http=FINE.format(name="http"))
    error = refused(found.get, "teraform")
    assert error.code is Code.NOT_FOUND
    assert "did you mean `terraform`?" in error.remedy
    assert "`http`, `terraform`" in refused(found.get, "xyz").remedy


def test_two_packages_that_offer_one_name_are_an_error_not_a_race(offer, runner):
    """Nobody's plug-in takes the place of another unseen."""
    offer(one=FINE.format(name="one"), two=FINE.format(name="one"))
    points = [metadata.EntryPoint("one", f"plugin_{name}:build", GROUP) for name in ("one", "two")]
    error = refused(Executors(points, Toolbox(runner, {})).get, "one")
    assert error.code is Code.TOOL_MISSING
    assert "plugin_one" in error.message
    assert "plugin_two" in error.message
    same = Executors([points[0], points[0]], Toolbox(runner, {}))
    assert same.get("one").name == "one"


def test_no_plug_in_can_take_a_key_of_every_step(offer):
    """A plug-in called like a step's own key, or by no name at all, is not there: it would break every workflow."""
    found = offer(needs=FINE.format(name="needs"), Upper=FINE.format(name="Upper"), ok=FINE.format(name="ok"))
    assert found.names == ("ok",)


def test_checking_imports_neither_network_nor_processes():
    """``check`` asks the validators only; they load no HTTP client, no TLS, no database."""
    program = (
        "import json, sys\nfrom mandamus.executors.model import Toolbox\n"
        "from mandamus.executors.service import load\nfrom mandamus.kernel.document import parse\n"
        "found = load(Toolbox(None, {}))\n"
        "node = parse(b'url: http://example.com/\\nrun: x\\n', 'w')\n"
        "for name in ('http', 'script'): found.validators()[name](node)\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, cwd=Path(__file__).parent)
    loaded = set(json.loads(out.stdout))
    assert not loaded & {"ssl", "http.client", "httpx2", "sqlalchemy", "asyncio", "dbos", "pydantic"}
