"""Canonical JSON, defined once: UTF-8, keys sorted by code point, no white space, no NaN, no duplicate keys.

Numbers keep the text they came with: integers stay integers of any size and a fraction is a ``Decimal`` from the
moment it is parsed, so a digest never depends on how a machine rounds. Floats are refused. For ASCII keys and
integers up to 2**53 the form equals RFC 8785.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.ids import Digest

DEPTH_MAX = 200


def dumps(value: object) -> bytes:
    """Canonical bytes of JSON-ready data; raises ``value_invalid`` for floats, other types and lone surrogates."""
    try:
        return _encode_fast(value).encode()
    except (TypeError, _HasDecimalError):
        pass
    except UnicodeEncodeError as error:
        raise _invalid("a string holds a lone surrogate") from error
    except (ValueError, RecursionError) as error:
        raise _invalid(str(error)) from error
    parts: list[str] = []
    _encode(value, parts, 0)
    try:
        return "".join(parts).encode()
    except UnicodeEncodeError as error:
        raise _invalid("a string holds a lone surrogate") from error


def loads(data: bytes) -> Any:
    """Parse JSON with fractions as ``Decimal``; raises ``value_invalid`` on bad, duplicate-keyed or too deep input."""
    try:
        return json.loads(
            data,
            parse_float=Decimal,
            parse_constant=_refuse_constant,
            object_pairs_hook=_unique,
        )
    except RecursionError as error:
        raise _invalid("nested too deeply") from error
    except (ValueError, UnicodeDecodeError) as error:
        raise _invalid(str(error)) from error


def digest(data: bytes) -> Digest:
    """``sha256:`` and the hex SHA-256 of the bytes."""
    return Digest("sha256:" + hashlib.sha256(data).hexdigest())


def digest_of(value: object) -> Digest:
    """Digest of the canonical bytes of JSON-ready data."""
    return digest(dumps(value))


class _HasDecimalError(Exception):
    """The C encoder met a value that only the exact encoder writes."""


def _refuse(value: object) -> object:
    raise _HasDecimalError(type(value).__name__)


class _Encoder(json.JSONEncoder):
    def default(self, o: object) -> object:
        return _refuse(o)


_encode_c = _Encoder(ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False).encode


def _encode_fast(value: object) -> str:
    if _has_float(value):
        raise ValueError("floats have no canonical form; give an integer, a Decimal or a string")
    return _encode_c(value)


def _has_float(value: object) -> bool:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            for key, part in item.items():
                if type(key) is not str and not isinstance(key, str):
                    raise ValueError("every key is a string")
                if type(part) not in _PLAIN:
                    stack.append(part)
        elif isinstance(item, (list, tuple)):
            stack.extend([part for part in item if type(part) not in _PLAIN])
        elif isinstance(item, float):
            return True
    return False


_PLAIN = frozenset({str, int, bool, type(None)})


def _encode(value: object, out: list[str], depth: int) -> None:
    if depth > DEPTH_MAX:
        raise _invalid("nested too deeply")
    if value is None or isinstance(value, (bool, int, str)):
        out.append(_encode_c(value))
    elif isinstance(value, Decimal):
        if not value.is_finite():
            raise _invalid(f"{value} is not a JSON number")
        out.append(str(value))
    elif isinstance(value, Mapping):
        _encode_object(value, out, depth)
    elif isinstance(value, Sequence) and not isinstance(value, (bytes, bytearray)):
        _encode_array(value, out, depth)
    else:
        raise _invalid(f"{type(value).__name__} is not JSON-ready")


def _encode_object(value: Mapping[Any, object], out: list[str], depth: int) -> None:
    out.append("{")
    for index, key in enumerate(sorted(value)):
        if not isinstance(key, str):
            raise _invalid("every key is a string")
        out.append("," if index else "")
        out.append(_encode_c(key) + ":")
        _encode(value[key], out, depth + 1)
    out.append("}")


def _encode_array(value: Sequence[object], out: list[str], depth: int) -> None:
    out.append("[")
    for index, item in enumerate(value):
        out.append("," if index else "")
        _encode(item, out, depth + 1)
    out.append("]")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def _invalid(why: str) -> MandamusError:
    return MandamusError(
        Code.VALUE_INVALID,
        f"not canonical JSON: {why}",
        remedy="give plain JSON: objects with unique string keys, arrays, strings, integers, booleans, null",
    )
