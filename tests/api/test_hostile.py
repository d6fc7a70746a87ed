"""Callers who mean harm, and requests that are none: each is refused in words, and others do not notice."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import socket
import sqlite3
import string
import threading
import time
from urllib.parse import urlsplit

import pytest
from fastapi.testclient import TestClient

from mandamus.api.app import build
from mandamus.bootstrap.server import open_server
from mandamus.serving.hub import Hub
from mandamus.settings import Settings

RUN = "run_01m89tq850e2cvgwyfb9428ekw"
RUNS = "/api/v1/runs"
BIG = 2**63


def of(secret: str) -> dict[str, str]:
    """The header of a token."""
    return {"Authorization": f"Bearer {secret}"}


def jwt(head: dict, claims: dict, signature: bytes = b"") -> str:
    """What looks like a token of somebody else's."""
    parts = [json.dumps(head).encode(), json.dumps(claims).encode(), signature]
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


def forged(good: str, token_id: str) -> list[str]:
    """Tokens that are none: near misses of a good one, what is kept of it, and other people's forms."""
    body, digits = good[4:47], string.digits
    made = [good[:place] + ("x" if good[place] != "x" else "y") + good[place + 1 :] for place in range(4, 53, 2)]
    made += [good[:length] for length in (1, 4, 20, 47, 52)]
    made += [good + each for each in ("0", "A", "=", "\x00", "%00", ";", ",", f",{good}", " x", "\t.")]
    made += [good.lower(), good.upper(), good.swapcase(), good[::-1], good[4:], f"MDM_{good[4:]}", f"mdm-{good[4:]}"]
    made += [f"mdm_{body[::-1]}{good[47:]}", f"mdm_{good[47:]}{body}", f"mdm_{'0' * 49}", f"mdm_{body}{digits[:6]}"]
    hashed = hashlib.sha256(good.encode())
    made += [hashed.hexdigest(), base64.b64encode(hashed.digest()).decode(), token_id, f"Bearer {good}", f'"{good}"']
    made += [
        base64.b64encode(good.encode()).decode(),
        f"ada:{good}",
        "null",
        "undefined",
        "true",
        "0",
        "*",
        "' OR 1=1--",
    ]
    now_s, claims = int(time.time()), {"sub": "ada", "aud": "mandamus", "iss": "https://issuer.example"}
    made += [
        jwt({"alg": alg, "typ": "JWT"}, {**claims, "exp": now_s + 60}) for alg in ("none", "None", "HS256", "RS256")
    ]
    made += [jwt({"alg": "HS256", "kid": "../../dev/null"}, {**claims, "groups": []}, b"x" * 32)]
    return made


def test_sixty_forged_tokens_are_refused(app_client, place):
    """Whatever is wrong with it, the answer is the same, and says nothing of what came near."""
    house = place.open()
    listed = house.tokens.list(house.who)
    house.close()
    made = forged(place.secrets["owner"], listed[0].id)
    assert len(set(made)) >= 60
    words = set()
    for each in made:
        raw = [(b"Authorization", f"Bearer {each}".encode())]
        answer = app_client.get("/api/v1/me", headers=raw)
        assert answer.status_code == 401, each
        words.add(answer.json()["detail"])
    assert len(words) == 1
    assert app_client.get("/api/v1/me", headers=of(place.secrets["owner"])).status_code == 200


def test_an_ended_token_is_refused_on_its_moment(place):
    """A token is good before its end and refused from it on."""
    secret = place.mint("ada", days=1)
    with contextlib.closing(sqlite3.connect(place.home / "mandamus.db")) as db:
        hashed = hashlib.sha256(secret.encode()).digest()
        house = place.open()
        client = TestClient(build(house, "test", Hub(house)))
        assert client.get("/api/v1/me", headers=of(secret)).status_code == 200
        db.execute("UPDATE identity_token SET expires_us = ? WHERE hash = ?", (time.time_ns() // 1000, hashed))
        db.commit()
        assert client.get("/api/v1/me", headers=of(secret)).status_code == 401
        house.close()


def test_nothing_but_the_header_lets_in(app_client, place):
    """No other header, no cookie, no query and no body says who calls, or which route is meant."""
    good = place.secrets["owner"]
    for name in (
        "X-Forwarded-User",
        "X-Remote-User",
        "X-Auth-Token",
        "Proxy-Authorization",
        "Cookie",
        "X-Original-Authorization",
    ):
        answer = app_client.get("/api/v1/me", headers={name: f"Bearer {good}"})
        assert answer.status_code == 401, name
        app_client.cookies.clear()
    for name in ("token", "access_token", "authorization"):
        assert app_client.get("/api/v1/me", params={name: good}).status_code == 401
    assert app_client.request("GET", "/api/v1/me", json={"token": good}).status_code == 401
    reader = of(place.secrets["reader"])
    for name in ("X-HTTP-Method-Override", "X-Method-Override", "X-HTTP-Method"):
        answer = app_client.get("/api/v1/tokens", headers={**reader, name: "POST"})
        assert answer.status_code == 403
    for name in ("X-Original-URL", "X-Rewrite-URL", "X-Forwarded-Prefix"):
        assert app_client.get("/api/v1/tokens", headers={**reader, name: "/healthz"}).status_code == 403


def test_of_two_authorizations_none_counts(app_client, place):
    """A server on the way may have looked at the other one."""
    good, other = (f"Bearer {place.secrets[user]}".encode() for user in ("owner", "reader"))
    for pair in ((good, other), (good, good), (good, b""), (b"Bearer x", good)):
        raw = [(b"Authorization", each) for each in pair]
        assert app_client.get("/api/v1/me", headers=raw).status_code == 401


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (f"/api/v1/audit/events/{BIG}", 422),
        ("/api/v1/audit/events/-1", 422),
        (f"/api/v1/audit/events/{2**53 - 1}", 404),
        (f"/api/v1/audit/events?cursor={BIG}", 422),
        ("/api/v1/audit/events?cursor=%D9%A3", 422),
        ("/api/v1/audit/events?since=12", 422),
        ("/api/v1/audit/events?since=0001-01-01T00:00:00%2B23:59", 200),
        ("/api/v1/audit/events?until=9999-12-31T23:59:59-23:59", 200),
        ("/api/v1/audit/events?text=%00", 200),
        ("/api/v1/audit/events?text=%ED%A0%80", 200),
        ("/api/v1/audit/events?actor=%00%F0%9F%92%A3", 200),
        (f"/api/v1/audit/events?cursor={RUN}", 422),
        (f"{RUNS}?cursor=7", 400),
        (f"{RUNS}?cursor=dec_{RUN[4:]}", 400),
        (f"/api/v1/policy/decisions?cursor={RUN}", 400),
        (f"{RUNS}?limit=0", 422),
        (f"{RUNS}?limit={BIG}", 422),
        (f"{RUNS}?state=nothing", 422),
        (f"{RUNS}?environment=%00", 200),
        (f"{RUNS}/run_%00", 400),
        (f"{RUNS}/{RUN}%0A", 400),
        (f"{RUNS}/{RUN.upper()}", 400),
        (f"{RUNS}/{RUN}/steps/%00/log", 404),
        (f"{RUNS}/{RUN}/steps/change/log?attempt={BIG}", 422),
        (f"{RUNS}/{RUN}/steps/change/log?offset={BIG}", 422),
        (f"{RUNS}/{RUN}/steps/change/log?phase=../plan", 422),
        ("/api/v1/environments/..%2f..%2fetc%2fpasswd", 404),
        ("/api/v1/environments/%00", 404),
        (f"/api/v1/policy/sets?name={'x' * 5_000}", 200),
    ],
)
def test_odd_values_are_answered_in_words(app_client, place, path, status):
    """Numbers no database holds, NUL, surrogates, other lists' cursors: never a failure of ours."""
    answer = app_client.get(path, headers=of(place.secrets["owner"]))
    assert answer.status_code == status, answer.text
    if status >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["remedy"]


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{", "application/json"),
        (b"", "application/json"),
        (b"null", "application/json"),
        (b"[" * 100_000, "application/json"),
        (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, "application/json"),
        (b"\xff\xfe", "application/json"),
        (b'{"project":"storage","workflow":"\\ud800","environment":"dev"}', "application/json"),
        (b'{"project":"\\u0000","workflow":"w","environment":"dev"}', "application/json"),
        (b'{"project":"storage","workflow":"w","environment":"dev","inputs":{"x":NaN}}', "application/json"),
        (b'{"project":"storage","workflow":"w","environment":"dev","inputs":{"x":1e999}}', "application/json"),
        (b'{"project":"storage","workflow":"w","environment":"dev","inputs":{"x":' + b"9" * 5_000 + b"}}", ""),
        (b'{"project":"storage","workflow":"../../etc/passwd","environment":"dev"}', "application/json"),
        (b'{"project":"storage","workflow":"/etc/passwd","environment":"dev"}', "application/json"),
        (b'{"project":"storage","workflow":"w\\u0000.yaml","environment":"dev"}', "application/json"),
        (b'{"project":"storage","workflow":"w","environment":"dev","requester":"ada"}', "application/json"),
        (b"a=b", "application/x-www-form-urlencoded"),
        (b"<a/>", "application/xml"),
        (b"{}", "text/plain"),
        (b"{}", "application/json; charset=utf-7"),
        (b"--x--", "multipart/form-data; boundary=x"),
    ],
)
def test_odd_bodies_are_answered_in_words(app_client, place, body, kind):
    """Not JSON, too deep, half characters, no numbers, paths out of the project: 4xx, and nothing is made."""
    headers = {**of(place.secrets["owner"]), "Content-Type": kind or "application/json"}
    before = app_client.get(RUNS, headers=headers).json()["items"]
    for key in ({}, {"Idempotency-Key": "odd"}):
        answer = app_client.post(RUNS, content=body, headers={**headers, **key})
        assert 400 <= answer.status_code < 500, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        for leak in ("Traceback", "sqlalchemy", "SELECT", "INSERT", 'File "'):
            assert leak not in answer.text
    assert app_client.get(RUNS, headers=headers).json()["items"] == before


def test_a_key_is_its_senders_own(app_client, place):
    """The same Idempotency-Key of somebody else is another key: nobody gets an answer that is not theirs."""
    body, key = {"name": "mine"}, {"Idempotency-Key": "shared"}
    run = {"project": "storage", "workflow": "workflows/deploy.yaml", "environment": "dev"}
    assert app_client.post("/api/v1/tokens", json=body, headers=of(place.secrets["ada"])).status_code == 201
    mine, theirs = (
        app_client.post(RUNS, json=run, headers={**of(place.secrets[user]), **key}) for user in ("ada", "grace")
    )
    assert (mine.status_code, theirs.status_code) == (201, 201)
    assert mine.json()["id"] != theirs.json()["id"]
    assert (mine.json()["requester"], theirs.json()["requester"]) == ("ada", "grace")


@pytest.mark.parametrize("key", ["", "x" * 201, "\x7f", "ü"])
def test_odd_keys_are_answered_in_words(app_client, place, key):
    """A key that is no key is refused, or is one like any other; it never breaks anything."""
    raw = [(b"Authorization", f"Bearer {place.secrets['owner']}".encode()), (b"Idempotency-Key", key.encode())]
    answer = app_client.post(RUNS, json={"project": "none", "workflow": "w", "environment": "dev"}, headers=raw)
    assert 400 <= answer.status_code < 500, answer.text


def test_lists_of_tags(app_client, place):
    """If-None-Match takes a list, weak tags and the star (RFC 9110, 13.1.2)."""
    body = {"project": "storage", "workflow": "workflows/deploy.yaml", "environment": "dev"}
    who = of(place.secrets["ada"])
    url = f"{RUNS}/{app_client.post(RUNS, json=body, headers=who).json()['id']}"
    tag = app_client.get(url, headers=who).headers["etag"]
    for shown, status in (
        (f'"x", {tag}', 304),
        (f'W/{tag},"x"', 304),
        ("*", 304),
        ('"x", W/"y"', 200),
        ("", 200),
        (",,,", 200),
        (tag.strip('"'), 200),
    ):
        answer = app_client.get(url, headers={**who, "If-None-Match": shown})
        assert answer.status_code == status, shown


def test_other_methods_are_not_for_a_route(app_client, place):
    """HEAD, OPTIONS, TRACE and made up ones: 405 with what is allowed, and no word of other origins."""
    headers = {**of(place.secrets["owner"]), "Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}
    for method in ("HEAD", "OPTIONS", "TRACE", "PUT", "PROPFIND"):
        answer = app_client.request(method, f"{RUNS}/{RUN}", headers=headers)
        assert answer.status_code == 405, method
        assert answer.headers["allow"] == "GET"
        assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("last", ["", "x", "-1", "1.5", "1e3", str(BIG), "9" * 20, "9" * 5_000, "\u0663", "1,2"])
def test_a_place_that_is_none_is_refused(app_client, place, last):
    """Last-Event-ID is what the stream gave, or 422."""
    body = {"project": "storage", "workflow": "workflows/deploy.yaml", "environment": "dev"}
    run = app_client.post(RUNS, json=body, headers=of(place.secrets["ada"])).json()["id"]
    raw = [(b"Authorization", f"Bearer {place.secrets['ada']}".encode()), (b"Last-Event-ID", last.encode())]
    for path in ("events", "steps/change/log/stream"):
        assert app_client.get(f"{RUNS}/{run}/{path}", headers=raw).status_code == 422


def spoken(url: str, *parts: bytes) -> bytes:
    """What the server says to bytes on a connection, until it hangs up."""
    where = urlsplit(url)
    assert where.hostname
    assert where.port
    with socket.create_connection((where.hostname, where.port), timeout=60) as connection:
        for part in parts:
            connection.sendall(part)
        found = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := connection.recv(65_536):
                found += piece
    return found


def test_a_request_of_two_lengths_ends_its_connection(server):
    """Content-Length and Transfer-Encoding (RFC 9112, 6.1): refused, and what is smuggled behind it is not answered."""
    smuggled = b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n"
    head = b"POST /api/v1/runs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n"
    found = spoken(server, head + b"0\r\n\r\n" + smuggled)
    assert found.startswith(b"HTTP/1.1 400")
    assert b'"usage"' in found
    assert found.count(b"HTTP/1.1") == 1
    assert b"version" not in found.partition(b"\r\n\r\n")[2]


@pytest.mark.parametrize(
    "raw",
    [
        b"POST /api/v1/runs HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde",
        b"POST /api/v1/runs HTTP/1.1\r\nHost: x\r\nContent-Length: -4\r\n\r\n",
        b"POST /api/v1/runs HTTP/1.1\r\nHost: x\r\nContent-Length: 1e3\r\n\r\n",
        b"POST /api/v1/runs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: a\r\n b\x00\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\nHost : x\r\n\r\n",
        b"GET /healthz HTTP/1.1\r\n\r\n",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ],
)
def test_what_is_no_request_is_refused(server, raw):
    """Two lengths, no number, endless headers, no host, TLS on the wrong door: 4xx, and the line is closed."""
    found = spoken(server, raw)
    assert found.startswith(b"HTTP/1.1 4") or found == b""
    assert b"Traceback" not in found


def test_an_answer_does_not_wait_for_the_callers_acknowledgement(place):
    """Head and body go out at once (TCP_NODELAY), or each answer would take 40 ms more."""
    with contextlib.closing(open_server(Settings(), dict(os.environ), place.home, ("127.0.0.1", 0), None)) as server:
        where = urlsplit(server.url)
        with socket.create_connection((where.hostname, where.port)):
            accepted, _ = server._bound.accept()
            with accepted:
                assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_long_url_is_answered_shortly(app_client, place):
    """What was asked for is not repeated at its full length."""
    answer = app_client.get("/api/v1/" + "a" * 50_000, headers=of(place.secrets["owner"]))
    assert answer.status_code == 404
    assert len(answer.content) < 3_000


def test_half_open_connections_stop_nobody(server, as_user):
    """Hundreds who connect and say half a word: whoever asks is answered meanwhile."""
    where = urlsplit(server)
    with contextlib.ExitStack() as opened:
        for number in range(300):
            made = opened.enter_context(contextlib.closing(socket.create_connection((where.hostname, where.port))))
            if number % 2:
                made.sendall(b"POST /api/v1/runs HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
            else:
                made.sendall(b"GET /api/v1/me HTT")
        client = as_user("owner")
        begin = time.monotonic()
        for _ in range(20):
            assert client.get("/api/v1/me").status_code == 200
        assert time.monotonic() - begin < 30


def test_a_stream_ends_with_its_token(place):
    """Whoever's token is revoked while they follow is told why, and hears no more."""
    house = place.open()
    app = build(house, "test", Hub(house), recheck_s=0.05)
    client = TestClient(app)
    made = house.tokens.create(house.who, "a stream")
    who = of(made.secret)
    body = {"project": "storage", "workflow": "workflows/deploy.yaml", "environment": "dev", "inputs": {"asked": True}}
    run = client.post(RUNS, json=body, headers=who).json()["id"]
    done = threading.Event()
    timer = threading.Timer(0.5, lambda: (house.tokens.revoke(house.who, made.token.id), done.set()))
    timer.start()
    text = client.get(f"{RUNS}/{run}/events", headers=who).text
    assert done.wait(60)
    timer.join()
    event, data = text.rstrip().rpartition("event: ")[2].split("\n")
    assert event == "stopped"
    assert json.loads(data.removeprefix("data: "))["code"] == "unauthenticated"
    assert client.get("/api/v1/me", headers=who).status_code == 401
    house.close()


def test_policy_is_asked_once_for_a_followed_log(as_user):
    """Each time is an event, and each event wakes the readers: they must not wake themselves for ever."""
    ada, joan = as_user("ada"), as_user("joan")
    body = {"project": "storage", "workflow": "workflows/deploy.yaml", "environment": "guarded"}
    run = ada.post(RUNS, json={**body, "inputs": {"asked": True}}).json()["id"]
    path = f"{RUNS}/{run}/steps/change/log/stream"
    with ada.stream("GET", f"{RUNS}/{run}/events") as answer:
        assert any(line == "event: step.waiting" for line in answer.iter_lines())

    def asked() -> int:
        found = ada.get("/api/v1/policy/decisions", params={"run": run, "point": "access"}).json()["items"]
        return len(found)

    before = asked()
    with ada.stream("GET", path) as answer:
        assert answer.status_code == 200
        time.sleep(1)
        assert asked() == before + 1
    assert joan.get(path).status_code == 403
