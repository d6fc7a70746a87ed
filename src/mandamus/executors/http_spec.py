"""What a workflow may write under ``http``, and the request that a resolved step asks for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mandamus.executors import http_url, request
from mandamus.executors.http_url import Url
from mandamus.executors.model import Task
from mandamus.kernel import addresses, canonical
from mandamus.kernel.document import Finding, Kind, Node
from mandamus.kernel.errors import Code, MandamusError, Problem
from mandamus.kernel.reader import Reader, duration_s

METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that ask for no change (RFC 9110 section 9.2.1): repeating one repeats no effect."""

BODY_BYTES_MAX = 1024 * 1024
HEADERS_BYTES_MAX = 32 * 1024
TIMEOUT_S_DEFAULT = 60

_KEYS = ("method", "url", "headers", "json", "body", "expect", "timeout")
_BODILESS = frozenset({"GET", "HEAD"})
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
# Who sets these decides where the message ends or where it goes; so it is us alone.
_OURS = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


def problems(node: Node) -> list[Problem]:
    """Everything that is wrong with the spec as it is written."""
    reader = Reader()
    fields = reader.table(node, "`http`", _KEYS, required=("url",))
    method = reader.choice(fields["method"], "`method`", METHODS, default="GET") if "method" in fields else "GET"
    if "url" in fields:
        _check_url(reader, fields["url"])
    if "headers" in fields:
        _check_headers(reader, fields["headers"])
    for key in ("json", "body"):
        if key in fields and method in _BODILESS:
            at = node.key_at(key)
            reader.add(at, Finding.WRONG_VALUE, f"a {method} carries no `{key}`", "write a method such as POST")
    if "json" in fields and "body" in fields:
        reader.add(node.key_at("body"), Finding.WRONG_VALUE, "`http` has both `json` and `body`", "delete one")
    if "body" in fields:
        reader.text(fields["body"], "`body`", empty=True)
    if "expect" in fields:
        _check_expect(reader, fields["expect"])
    if "timeout" in fields:
        reader.duration_s(fields["timeout"], "`timeout`")
    return reader.problems


def asked(task: Task) -> dict[str, Any]:
    """The exact request, as JSON-ready data; raises ``value_invalid`` for values that no request can carry."""
    spec = task.spec
    url = spec["url"]
    if not isinstance(url, str):
        raise _invalid(task, "`url` is no text")
    headers = {name: request.text(task, value, f"header {name}") for name, value in spec.get("headers", {}).items()}
    for name, value in headers.items():
        fault = _value_fault(value)
        if fault:
            raise _invalid(task, f"the header {name} {fault}")
    if sum(len(name) + len(value.encode("utf-8", "surrogatepass")) + 4 for name, value in headers.items()) > (
        HEADERS_BYTES_MAX
    ):
        raise _invalid(task, f"the headers take over {HEADERS_BYTES_MAX} bytes")
    made = {
        "method": spec.get("method", "GET"),
        "url": url,
        "headers": headers,
        "expect": list(spec.get("expect", {}).get("status", ())),
        "timeout_s": duration_s(spec["timeout"]) if "timeout" in spec else TIMEOUT_S_DEFAULT,
    }
    if "json" in spec:
        made["json"] = spec["json"]
    elif "body" in spec:
        made["body"] = request.text(task, spec["body"], "`body`")
    if len(body(made)) > BODY_BYTES_MAX:
        raise _invalid(task, f"the body is over {BODY_BYTES_MAX} bytes")
    return made


def url_of(task: Task, asked: Mapping[str, Any]) -> Url:
    """The URL in parts. Raises ``value_invalid`` for one that cannot be read and for a forbidden numeric host."""
    try:
        url = http_url.parse(asked["url"])
    except ValueError as error:
        raise _invalid(task, f"the url cannot be used: {error}") from error
    literal = url.literal()
    try:
        allowed = literal is None or addresses.permitted(literal, task.sandbox.allow_private)
    except ValueError as error:
        raise _invalid(task, "the url cannot be used: its host is no address") from error
    if not allowed:
        raise denied(task, f"{url.host} is {literal}")
    return url


def body(asked: Mapping[str, Any]) -> bytes:
    """The bytes of the body; empty when there is none."""
    if "json" in asked:
        return canonical.dumps(asked["json"])
    return str(asked.get("body", "")).encode()


def expected(asked: Mapping[str, Any], status: int) -> bool:
    """Whether the status is one that the step asked for; without a word about it, any of 200 to 299."""
    return status in asked["expect"] if asked["expect"] else 200 <= status <= 299


def denied(task: Task, where: str) -> MandamusError:
    """The error for an address that the pool does not open."""
    return MandamusError(
        Code.VALUE_INVALID,
        f"step {task.step} may not reach this address: {where}",
        remedy="private, loopback, link-local and metadata addresses are closed; if this one is meant, add its network "
        "to `allow_private` in the environment's pool, then `mandamus env apply`",
        context={"where": where},
    )


def _check_url(reader: Reader, node: Node) -> None:
    text = reader.text(node, "`url`")
    if text and not node.late:
        try:
            http_url.parse(text)
        except ValueError as error:
            remedy = "write it as https://host/path, percent-encoded"
            reader.add(node, Finding.WRONG_VALUE, f"`url` cannot be used: {error}", remedy)


def _check_headers(reader: Reader, node: Node) -> None:
    seen: set[str] = set()
    for name, value in reader.mapping(node, "`headers`").items():
        at = node.key_at(name)
        if not _TOKEN.fullmatch(name):
            reader.add(at, Finding.WRONG_VALUE, f"`{name[:60]}` is no name for a header", "use letters, digits and -")
        elif name.lower() in _OURS:
            reader.add(at, Finding.WRONG_VALUE, f"`{name}` is set by the platform", "delete it")
        elif name.lower() in seen:
            reader.add(at, Finding.WRONG_VALUE, f"`{name}` stands twice in `headers`", "delete one")
        seen.add(name.lower())
        if value.kind is not Kind.SCALAR or value.value is None:
            message = f"the header `{name[:60]}` is a string, a number or a boolean, not {value.shape}"
            reader.add(value, Finding.WRONG_TYPE, message, "give one value")
        elif not value.late and (fault := _value_fault(str(value.value))):
            reader.add(value, Finding.WRONG_VALUE, f"the header `{name[:60]}` {fault}", "write it on one line")


def _check_expect(reader: Reader, node: Node) -> None:
    fields = reader.table(node, "`expect`", ("status",), required=("status",))
    if "status" not in fields:
        return
    statuses = reader.sequence(fields["status"], "`status`")
    if fields["status"].kind is Kind.LIST and not statuses:
        reader.add(fields["status"], Finding.WRONG_VALUE, "`status` is empty", "list what counts as success")
    for element in statuses:
        reader.integer(element, "an element of `status`", minimum=200, maximum=599, default=200)


def _value_fault(value: str) -> str:
    if _CONTROL.search(value):
        return "holds a line end or another control character"
    if value != value.strip(" \t"):
        return "begins or ends with white space, which HTTP drops"
    return ""


def _invalid(task: Task, why: str) -> MandamusError:
    return MandamusError(
        Code.VALUE_INVALID,
        f"step {task.step}: {why}",
        remedy="look at the values the step is given; percent-encode what goes into a url",
    )
