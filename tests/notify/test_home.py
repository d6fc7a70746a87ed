"""A real home that tells a real receiver: declared, woken, killed, asked by command line and by API."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from mandamus.audit.kinds import Kind
from mandamus.bootstrap.house import House, open_house
from mandamus.bootstrap.server import open_server
from mandamus.client.client import Client
from mandamus.client.house import RemoteHouse
from mandamus.identity.declared_sign_in import DeclaredSignIn
from mandamus.identity.sign_in import SignIn
from mandamus.kernel.errors import Code, MandamusError
from mandamus.runs.model import Request
from mandamus.settings import Settings
from mandamus.wire.notify import delivery_back

WAIT_S = 60.0
SECRET = "whsec_" + "QUJD" * 8
PLATFORM = """
users: {{ada: {{}}, OWNER: {{}}}}
notify:
  tokens:
    webhook:
      url: {url}
      secret: {{file: hook.secret}}
      allow_private: [127.0.0.0/8]
    kinds: [token.*]
environments:
  dev: {{policies: [policy, guard]}}
"""
GUARD = """package mandamus.plan

warn contains {"msg": "look at it", "notify": "tokens"} if input.step.name == "one"
"""
WORKFLOW = "workflow: deploy\nsteps: {one: {script: {run: 'true'}}}\n"
SENDS = """
import sys
from pathlib import Path
from mandamus.bootstrap.house import open_house
from mandamus.settings import Settings
from mandamus.wire.notify import delivery_back
house = open_house(Settings(), {}, Path(sys.argv[1]), None)
house.notify.send(house.who)
"""


@pytest.fixture
def home(tmp_path: Path, make_home, receiver) -> Path:
    """A home with one subscription."""
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "hook.secret").write_text(SECRET)
    made, _ = make_home(tmp_path, PLATFORM.format(url=receiver.url), WORKFLOW, GUARD)
    return made


def opened(home: Path) -> House:
    """The home, opened by its owner."""
    return open_house(Settings(), dict(os.environ), home, None)


def test_a_killed_deliverer_is_followed_by_another(home, receiver, verified):
    """Killed between the receiver's having it and our knowing, it is sent once more, with the same id."""
    with closing(opened(home)) as house:
        house.tokens.create(house.who, "a test")
    child = subprocess.Popen([sys.executable, "-c", SENDS, str(home)])
    receiver.answers = [lambda _handler: child.kill()]
    assert child.wait(WAIT_S) == -signal.SIGKILL
    with closing(opened(home)) as house:
        (waits,) = house.notify.deliveries(house.who)
        assert (waits.state, waits.attempts) == ("waiting", 0)
        house.notify.send(house.who)
        (done,) = house.notify.deliveries(house.who)
    assert done.state == "delivered"
    assert [got.headers["webhook-id"] for got in receiver.got] == [waits.event] * 2
    assert all(verified(got, SECRET) for got in receiver.got)


def test_the_engine_tells_by_itself(home, receiver):
    """While a process works on the home, an event reaches the receiver without anybody's asking for it."""
    with closing(opened(home)) as house:
        assert house.become_engine()
        made = house.tokens.create(house.who, "a test")
        (got,) = receiver.wait(1)
    assert got.event["data"]["resource"] == {"type": "token", "id": made.token.id}
    assert made.secret.encode() not in got.body


def test_links_lead_where_people_sign_in_unless_a_setting_says_another_place(home, receiver):
    """Without either a message has none; a server behind a proxy knows by the same whether browsers speak TLS."""
    told = Settings(public_url="http://told.example.com")
    with closing(opened(home)) as house:
        house.notify.test(house.who, "tokens")
        declared = SignIn("https://idp.example.com", "mandamus", "https://console.example.com")
        with house.rooms.db.begin("test") as tx:
            DeclaredSignIn(house.rooms.db, house.audit).apply(tx, house.who, declared)
        house.notify.test(house.who, "tokens")
    with closing(open_house(told, dict(os.environ), home, None)) as house:
        house.notify.test(house.who, "tokens")
    links = [got.event["data"]["link"] for got in receiver.wait(3)]
    assert links == [None, "https://console.example.com", "http://told.example.com"]
    for settings, secure in ((Settings(), True), (told, False)):
        behind = settings.model_copy(update={"trusted_proxies": "10.0.0.7"})
        with closing(open_server(behind, dict(os.environ), home, ("127.0.0.1", 0), None)) as server:
            assert server.secure is secure


def test_what_was_declared_stands_in_the_log(home):
    """With what changed; who may not is refused."""
    with closing(opened(home)) as house:
        (applied,) = house.audit.told(Kind.NOTIFY_APPLIED)
        assert (applied["data"]["subscription"], applied["data"]["previous"]) == ("tokens", None)
        assert {each["field"] for each in applied["data"]["changes"]} >= {"kinds", "webhook.url", "active"}
    with closing(open_house(Settings(), dict(os.environ), home, "ada")) as house:
        for verb in (house.notify.subscriptions, house.notify.replay, house.notify.send):
            with pytest.raises(MandamusError) as refused:
                verb(house.who)
            assert refused.value.code is Code.FORBIDDEN


def test_policy_has_somebody_told_of_a_run(home, receiver):
    """What a policy set names in a run is told of by the time the run is through, with what the set says."""
    with closing(opened(home)) as house:
        run = house.runs.request(house.who, home.with_name("project"), Request("workflows/deploy.yaml", "dev", {}))
        assert house.drive(run.id, lambda _notice: None).state == "succeeded"
        house.notify.send(house.who)
    (got,) = receiver.wait(1)
    told = got.event["data"]
    assert (told["kind"], told["run"], told["why"]) == ("decision.recorded", run.id, "look at it")


@pytest.mark.slow
def test_a_server_tells_and_is_asked(home, receiver, serve, answer):
    """The API and its client show how it stands, test, and have dead letters sent again, which the server does."""
    with closing(opened(home)) as house:
        secret = house.tokens.create(house.who, "a test").secret
        house.notify.send(house.who)
    receiver.answers = [answer(410)]
    with serve(home, home.with_name("server.log")) as url, Client(url, secret, entropy=os.urandom) as client:
        client.create_token("of a test")
        receiver.wait(2)
        while not (dead := list(client.list_deliveries(state="dead"))):
            pass
        remote = RemoteHouse(client).notify
        (standing,) = remote.subscriptions(None)
        assert (standing.name, standing.dead, standing.state) == ("tokens", 1, "gone")
        assert remote.dead(None, "tokens") == [delivery_back(each) for each in dead]
        with pytest.raises(MandamusError) as refused:
            remote.replay(None, [dead[0].id, 999])
        assert refused.value.code is Code.NOT_FOUND
        assert remote.replay(None, [dead[0].id]) == 1
        assert remote.test(None, "tokens").ok
        states = [each.state.value for each in client.list_deliveries(subscription="tokens", limit=1)]
        assert states == ["waiting", "delivered"]
        with closing(opened(home)) as house:
            assert house.notify.subscriptions(house.who) == remote.subscriptions(None)
