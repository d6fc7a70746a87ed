"""Each page in Chromium: axe finds nothing, the console stays empty, and it fits 360 pixels; and their pictures.

The pictures go to a folder of the test's own, or to the one that ``MANDAMUS_SCREENS`` names:
``MANDAMUS_SCREENS=docs/reference/screens pytest tests/browser/test_screens.py -m slow -k pictures`` makes those of the
documentation anew.
"""

from __future__ import annotations

import base64
import os
import re
import struct
import sys
import time
import zlib
from array import array
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from starlette.routing import Route

from mandamus.bootstrap.house import House, open_house
from mandamus.runs.lifecycle import RUN_CLOSED, RunState
from mandamus.runs.model import Request
from mandamus.serving.hub import Hub
from mandamus.settings import Settings
from mandamus.web.app import build

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

SCREENS = {
    "home": "/",
    "runs": "/runs",
    "run": "/runs/{run}",
    "workflows": "/workflows",
    "catalog": "/catalog",
    "decide": "/runs/{waiting}/steps/bucket/decide",
    "policies": "/policies",
    "environments": "/environments",
    "audit": "/audit",
    "settings": "/settings",
}
"""The ten screens; the page of an approval stands for the inbox, which leads there."""
LOOKS = {"light": ("light", 1280), "dark": ("dark", 1280), "narrow": ("light", 360)}
HEIGHT_MAX = 1_100
BYTES_MAX = 150_000
PIXELS = """
async (data) => {
  const image = await createImageBitmap(await (await fetch("data:image/png;base64," + data)).blob());
  const canvas = new OffscreenCanvas(image.width, image.height).getContext("2d");
  canvas.drawImage(image, 0, 0);
  const found = canvas.getImageData(0, 0, image.width, image.height).data;
  let text = "";
  for (let at = 0; at < found.length; at += 32768) text += String.fromCharCode(...found.subarray(at, at + 32768));
  return btoa(text);
}
"""

PARTS = {
    "run": "{run}",
    "step": "bucket",
    "index": "1",
    "project": "demo",
    "file:path": "workflows/storage-bucket.yaml",
    "decision": "{decision}",
    "token": "{token}",
    "session": "{session}",
    "set": "{set}",
    "environment": "dev",
    "name": "storage",
}
"""What stands in for a named part of a path; a route with another fails until it is told here."""
STREAMS = ("/live", "/events")


@pytest.fixture(scope="module")
def house(demo) -> Iterator[House]:
    """The home of the served demo, opened beside its server."""
    with closing(open_house(Settings(), dict(os.environ), Path(demo.home), None)) as opened:
        yield opened


@pytest.fixture(scope="module")
def ids(demo, house: House) -> dict[str, str]:
    """A run that succeeded, one that waits, one that was denied, and a decision."""
    grace, ada = house.identity.active("grace"), house.identity.active("ada")
    house.runs.approve(grace, demo.run, reason="private, encrypted, named as agreed")
    done = until(house, demo.run)
    inputs = {"name": "invoices", "public": False}
    asked = Request("workflows/storage-bucket.yaml", "dev", inputs, "room for the invoices of this year")
    waiting = house.runs.request(ada, Path(demo.folder) / "project", asked).id
    until(house, waiting)
    decision = house.policy.decisions(grace, demo.run)[0].id
    token = house.tokens.create(grace, "a script of hers").token.id
    session = house.sessions.open(house.sessions.link(house.who, "grace")).session.id
    return {
        "run": done,
        "waiting": waiting,
        "denied": demo.denied,
        "decision": decision,
        "token": token,
        "session": session,
        "set": house.policy.versions(grace)[0].name,
    }


def until(house: House, run: str) -> str:
    """Wait for a run to be closed with its proof, or to wait for people."""
    for _ in range(1_200):
        found = house.runs.show(house.who, run).run
        if found.state is RunState.WAITING or (found.state in RUN_CLOSED and found.evidence is not None):
            return run
        time.sleep(0.05)
    raise AssertionError(f"{run} is still {found.state}")


def check(visitor, path: str) -> list[str]:
    """Everything that is wrong with a page."""
    page = visitor.go(path)
    wrong = [] if visitor.fits() else [f"{page.url} is wider than its window"]
    if not re.fullmatch(r".+ · Mandamus", page.title()):
        wrong.append(f"{page.url} has the title {page.title()!r}")
    return wrong + visitor.axe()


@pytest.mark.parametrize("name", LOOKS)
def test_pictures_of_the_ten_screens(demo, visit, ids, tmp_path, name):
    """Light, dark and narrow: axe has nothing against any, each fits, and its picture is small."""
    folder = Path(os.environ.get("MANDAMUS_SCREENS") or tmp_path)
    scheme, width = LOOKS[name]
    visitor = visit(demo.url, demo.link("grace"), scheme=scheme, width=width)
    plain = visit("about:blank", None).page
    wrong = []
    for screen, path in SCREENS.items():
        wrong += check(visitor, path.format(**ids))
        high = visitor.page.evaluate("document.documentElement.scrollHeight")
        clip = {"x": 0, "y": 0, "width": width, "height": min(high, HEIGHT_MAX)}
        file = folder / f"{screen}-{name}.png"
        shot = visitor.page.screenshot(full_page=True, clip=clip)
        pixels = base64.b64decode(plain.evaluate(PIXELS, base64.b64encode(shot).decode()))
        file.write_bytes(picture(pixels, width, clip["height"]))
        if file.stat().st_size > BYTES_MAX:
            wrong.append(f"{file} has {file.stat().st_size} bytes")
    assert not wrong, "\n".join(wrong)


def picture(rgba: bytes, width: int, height: int) -> bytes:
    """A PNG of at most 256 colours of opaque pixels (ISO/IEC 15948): rarer ones become the nearest of the others."""
    pixels = array("I", rgba)
    counted = [colour for colour, _ in Counter(pixels).most_common()]
    palette = [colour.to_bytes(4, sys.byteorder)[:3] for colour in counted[:256]]
    index = {colour: at for at, colour in enumerate(counted[:256])}
    for colour in counted[256:]:
        own = colour.to_bytes(4, sys.byteorder)[:3]
        apart = [sum((x - y) ** 2 for x, y in zip(own, each, strict=True)) for each in palette]
        index[colour] = apart.index(min(apart))
    rows = bytes(map(index.__getitem__, pixels))
    lines = b"".join(b"\0" + rows[at : at + width] for at in range(0, width * height, width))
    parts = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0),
        b"PLTE": b"".join(palette),
        b"IDAT": zlib.compress(lines, 9),
        b"IEND": b"",
    }
    made = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in parts.items()
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(made)


def test_the_ten_screens_without_a_script(demo, visit, ids):
    """Each says the same, and nothing of it waits for a script."""
    visitor = visit(demo.url, demo.link("grace"), script=False)
    for path in SCREENS.values():
        page = visitor.go(path.format(**ids))
        assert page.locator("h1").first.is_visible(), path


def test_every_page_there_is(demo, visit, ids, house: House):
    """Each route that answers with a page: axe has nothing against it."""
    visitor = visit(demo.url, demo.link("grace"))
    wrong, seen = [], 0
    for path in paths(house, ids):
        answer = visitor.context.request.get(f"{demo.url}{path}", max_redirects=0)
        if answer.headers.get("content-type", "").startswith("text/html") and answer.status == 200:
            seen += 1
            wrong += check(visitor, path)
    assert seen > len(SCREENS)
    assert not wrong, "\n".join(wrong)


def paths(house: House, ids: dict[str, str]) -> list[str]:
    """A path for each route of the console that is read."""
    app = build(house, Hub(house), os.urandom, secure=False)
    found = []
    for route in app.routes:
        assert isinstance(route, Route)
        if "GET" not in route.methods or route.path.startswith("/static/") or route.path.endswith(STREAMS):
            continue
        unknown = [part for part in re.findall(r"{([^}]+)}", route.path) if part not in PARTS]
        assert not unknown, f"{route.path}: say in PARTS what stands for {', '.join(unknown)}"
        path = re.sub(r"{([^}]+)}", lambda m: PARTS[m[1]], route.path)
        if path.endswith("/decide"):
            path = path.replace("{run}", "{waiting}")
        found.append(path.format(**ids))
    return found
