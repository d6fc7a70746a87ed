"""What a script hands to later steps: the file named by ``$MANDAMUS_OUTPUT``, read with distrust.

Lines are ``NAME=value``, or ``NAME<<END`` for a value of several lines that a line ``END`` closes. A file whose first
character is ``{`` is one JSON object instead, whose values keep their types.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Any

from mandamus.executors import request
from mandamus.kernel import canonical
from mandamus.kernel.errors import Code, MandamusError

BYTES_MAX = 1024 * 1024
NAMES_MAX = 256

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_LINE = re.compile(rf"({_NAME.pattern})(=|<<)(.*)", re.DOTALL)


def read(path: Path, step: str) -> dict[str, Any]:
    """The outputs; none when the script wrote no file. Raises ``value_invalid`` and names the line."""
    try:
        outputs = parse(_bytes(path))
        request.storable(outputs)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise _invalid(step, error.strerror or "it cannot be read") from error
    except UnicodeDecodeError as error:
        raise _invalid(step, "it is not UTF-8") from error
    except MandamusError as error:
        raise _invalid(step, error.message) from error
    except ValueError as error:
        raise _invalid(step, str(error)) from error
    return outputs


def parse(data: bytes) -> dict[str, Any]:
    """Outputs from the file's bytes; raises ``ValueError``, and ``value_invalid`` for bad JSON."""
    if data.lstrip()[:1] == b"{":
        outputs: dict[str, Any] = canonical.loads(data)
        for name in outputs:
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name[:60]!r} is no name")
    else:
        outputs = _lines(data.decode().split("\n"))
    if len(outputs) > NAMES_MAX:
        raise ValueError(f"it has {len(outputs)} names; at most {NAMES_MAX}")
    return outputs


def _lines(lines: list[str]) -> dict[str, Any]:
    outputs: dict[str, Any] = {}
    at = 0
    while at < len(lines):
        line = lines[at]
        at += 1
        if not line:
            continue
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError(f"line {at} is no NAME=value")
        name, sign, rest = match.groups()
        if sign == "=":
            outputs[name] = rest
            continue
        if not rest or rest not in lines[at:]:
            raise ValueError(f"line {at} begins a value of several lines that no line {rest[:60]!r} closes")
        end = lines.index(rest, at)
        outputs[name] = "\n".join(lines[at:end])
        at = end + 1
    return outputs


def _bytes(path: Path) -> bytes:
    # The script may have put anything there: a link is not followed, a pipe does not block, nothing large is read.
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise ValueError("it is no regular file")
        data = file.read(BYTES_MAX + 1)
    if len(data) > BYTES_MAX:
        raise ValueError(f"it is over {BYTES_MAX} bytes")
    return data


def _invalid(step: str, why: str) -> MandamusError:
    return MandamusError(
        Code.VALUE_INVALID,
        f"step {step}: the script's output file cannot be read: {why}",
        remedy="write lines NAME=value to the file named by $MANDAMUS_OUTPUT, or one JSON object; "
        "the script itself has run",
    )
