"""The page of an output: the last lines first, ranges with an address, search, and the whole as a file."""

from __future__ import annotations

import re
from html import unescape

import pytest

COUNT = 100_000


@pytest.fixture(scope="module")
def long(place) -> str:
    """Where the output of a step stands that printed a great many lines, after the one it says by itself."""
    run = place.run(says="first")
    for start in range(2, COUNT + 1, 20_000):
        lines = range(start, min(start + 20_000, COUNT + 1))
        piece = "".join(f"line {each}\n" for each in lines).encode()
        place.house.rooms.outputs.append(run, "change", 1, "apply", piece)
    return f"/runs/{run}/steps/change/log"


@pytest.fixture(scope="module")
def odd(place) -> str:
    """Where an output stands that tries to hide, to lead away and to colour."""
    run = place.run(says="first")
    data = b"\x1b]8;;https://evil.example\x07link\x1b]8;;\x07\n\x1b]0;never ended\nafter it\n"
    data += "in\u202everted, zero\u200bwidth\n".encode() + b"\x1b[31mred\x1b[0m <script>alert(1)</script>\n"
    data += b"x" * 5_000 + b"\nend\n"
    place.house.rooms.outputs.append(run, "change", 1, "apply", data)
    return f"/runs/{run}/steps/change/log"


def lines(text: str) -> list[tuple[int, str]]:
    """Number and text of the lines on a page."""
    found = re.findall(r'<span class="line[^"]*"(?: id="L\d+")?><a[^>]*>(\d+)</a>(.*?)\n</span>', text, re.DOTALL)
    return [(int(number), unescape(re.sub("<[^>]*>", "", line))) for number, line in found]


def marked(text: str) -> list[int]:
    """The numbers of the lines that a page points out."""
    return [int(number) for number in re.findall(r'<span class="line marked" id="L(\d+)"', text)]


def test_a_long_output_opens_at_its_end(visit, long):
    """The last 2,000 lines; older ones follow window by window, by a link and, for a script, as somebody scrolls."""
    client, address, seen = visit("grace"), long, []
    for _ in range(3):
        text = client.get(address).text
        assert len(lines(text)) == 2_000
        seen = lines(text) + seen
        address = unescape(re.search(r'<p class="more"[^>]*><a href="([^"]*)">Earlier lines', text)[1])
    assert seen == [(each, f"line {each}") for each in range(COUNT - 5_999, COUNT + 1)]
    part = unescape(re.search(r'hx-get="([^"]*)"', text)[1])
    more = client.get(part).text
    assert "<html" not in more
    assert lines(more)[-1] == (COUNT - 6_000, f"line {COUNT - 6_000}")


def test_the_first_window_has_nothing_before_it(visit, long):
    """Line 1 is the first."""
    text = visit("grace").get(long, params={"before": 100}).text
    assert lines(text)[0] == (1, "first")
    assert len(lines(text)) == 99
    assert "Earlier lines" not in text


def test_a_range_has_an_address(visit, long):
    """Its lines are marked and stand among their neighbours, wherever in the output; each line links to itself."""
    client = visit("grace")
    text = client.get(long, params={"from": 50_000, "to": 50_009}).text
    assert marked(text) == list(range(50_000, 50_010))
    assert (49_990, "line 49990") in lines(text)
    assert "line 50000 to 50009" in re.search("<title>(.*?)</title>", text, re.DOTALL)[1]
    link = unescape(re.search(r'<span class="line marked" id="L50000"><a href="([^"]*)"', text)[1])
    assert link.endswith("&from=50000#L50000")
    assert marked(client.get(link.partition("#")[0]).text) == [50_000]
    assert "has no line 200000" in client.get(long, params={"from": 200_000}).text


def test_a_byte_leads_to_its_line(visit, long):
    """What a run's page shows of an output knows no numbers, and its links still do."""
    client = visit("grace")
    run = long.partition("/steps")[0]
    links = re.findall(r'<span class="line"><a href="([^"]*)"[^>]*></a>([^<\n]*)', client.get(run).text)
    address, words = links[-1]
    assert words == f"line {COUNT}"
    assert client.get(unescape(address)).headers["location"].endswith(f"from={COUNT}#L{COUNT}")


def test_a_text_is_found_wherever_it_stands(visit, long):
    """Literally, whatever the case; 200 lines at a time, each with a link to its place."""
    client = visit("grace")
    text = client.get(long, params={"q": "LINE 77777"}).text
    assert lines(text) == [(77_777, "line 77777")]
    assert "from=77777#L77777" in text
    assert lines(client.get(long, params={"q": ".*"}).text) == []
    first = client.get(long, params={"q": "line 1"}).text
    assert len(lines(first)) == 200
    following = unescape(re.search(r'rel="next" href="([^"]*)"', first)[1])
    wanted = [each for each in range(2, COUNT + 1) if str(each).startswith("1")]
    assert [number for number, _ in lines(first) + lines(client.get(following).text)] == wanted[:400]
    assert client.get(long, params={"q": "x" * 201}).status_code == 422


def test_a_pattern_is_no_program(visit, long):
    """What would take a pattern's engine for ever is looked for as it stands, in one pass."""
    text = visit("grace").get(long, params={"q": "(a+)+$(l+)+x"}).text
    assert "No line" in text


def test_an_output_is_downloaded_whole(visit, long):
    """From its first byte to its last, as a file."""
    answer = visit("grace").get(f"{long}.txt")
    found = answer.text.splitlines()
    assert (found[0], found[-1], len(found)) == ("first", f"line {COUNT}", COUNT)
    assert answer.headers["content-disposition"].startswith("attachment")


def test_an_output_can_only_colour(visit, odd):
    """What would hide or turn text around is written out; no sequence takes a later line with it; nothing is markup."""
    page = visit("grace").get(odd).text
    found = dict(lines(page))
    assert found[2] == "link"
    assert found[4] == "after it"
    assert found[5] == "in\\u202everted, zero\\u200bwidth"
    assert found[6] == "red <script>alert(1)</script>"
    assert found[7].startswith("x" * 2_000)
    assert "and 3000 bytes more" in found[7]
    assert found[8] == "end"
    assert 'class="ansi-red">red<' in page
    assert "<script>alert" not in page
    assert "evil.example" not in page


@pytest.mark.parametrize("asked", ["from=x", "before=-1", "phase=none", "attempt=1e3", "at=x", "to=9999999999999"])
def test_an_address_is_checked(visit, odd, asked):
    """Numbers are numbers, and phases are those there are."""
    assert visit("grace").get(f"{odd}?{asked}").status_code == 422
