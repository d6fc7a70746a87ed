"""Reads ``HOME/sinks.yaml``: where the log is sent to. Secrets stand in it by reference only."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

from mandamus.audit.export_model import PEN
from mandamus.kernel import canonical
from mandamus.kernel.document import BYTES_MAX, Finding, Kind, Node, parse
from mandamus.kernel.errors import Code, MandamusError
from mandamus.kernel.reader import Reader
from mandamus.secrets.model import SecretRef

SINKS_FILE = "sinks.yaml"
LAG_MAX_DEFAULT = 10_000
TIMEOUT_S_DEFAULT = 10
SINKS_MAX = 50
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
_PORT = 6514
_MAY = ("required", "lag_max", "timeout")
_COUNT_MAX = 2**31 - 1


class Form(StrEnum):
    """What a sink is."""

    FILES = "files"
    SYSLOG = "syslog"
    WEBHOOK = "webhook"
    OTLP = "otlp"


_KEYS: Mapping[Form, tuple[tuple[str, ...], str]] = {
    Form.FILES: (("folder",), "folder"),
    Form.SYSLOG: (("address", "message", "ca", "cert", "key", "pen"), "address"),
    Form.WEBHOOK: (("url", "secret", "ca"), "url"),
    Form.OTLP: (("url", "token", "ca"), "url"),
}
"""The keys of each form, and the one it must have."""


@dataclass(frozen=True)
class Sink:
    """A sink as declared. ``options`` are texts by key; of a ``required`` one the lag may be ``lag_max`` leaves."""

    name: str
    form: Form
    options: Mapping[str, str]
    secret: SecretRef | None = None
    required: bool = False
    lag_max: int = LAG_MAX_DEFAULT
    timeout_s: int = TIMEOUT_S_DEFAULT
    pen: int = PEN

    @property
    def digest(self) -> str:
        """Of all that is declared of it: the log says by it which declaration was in force."""
        secret = self.secret.to_json() if self.secret else None
        values = {**vars(self), "form": self.form.value, "options": dict(self.options), "secret": secret}
        return f"sha256:{hashlib.sha256(canonical.dumps(values)).hexdigest()}"


def load(path: Path) -> dict[str, Sink]:
    """The sinks by name, none when there is no file.

    Raises ``document_invalid`` for no YAML we accept, and ``environment_invalid`` with every problem in it.
    """
    try:
        with path.open("rb") as file:
            data = file.read(BYTES_MAX + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise MandamusError(
            Code.HOME_INVALID, f"cannot read {path}: {error.strerror}", remedy="make it a file that you may read"
        ) from error
    return read(data, str(path), path.parent)


def read(data: bytes, file: str, folder: Path) -> dict[str, Sink]:
    """The same from bytes; relative paths stand in ``folder``."""
    root = parse(data, file)
    reading = _Reading(Reader(), folder)
    fields = reading.reader.table(root, "a file of sinks", ("sinks",), required=("sinks",))
    found = reading.reader.mapping(fields["sinks"], "`sinks`") if "sinks" in fields else {}
    if len(found) > SINKS_MAX:
        reading.reader.add(root, Finding.LIMIT, f"more than {SINKS_MAX} sinks", "delete some")
        found = {}
    sinks = [reading.sink(name, fields["sinks"], node) for name, node in found.items()]
    reading.reader.raise_for(Code.ENVIRONMENT_INVALID, "correct the file, then try again")
    return {sink.name: sink for sink in sinks if sink is not None}


@dataclass
class _Reading:
    reader: Reader
    folder: Path
    _forms: tuple[str, ...] = field(default=tuple(Form))

    def sink(self, name: str, parent: Node, node: Node) -> Sink | None:
        if not _NAME.fullmatch(name):
            message = f"`{name[:60]}` is no name for a sink"
            self.reader.add(
                parent.key_at(name), Finding.WRONG_VALUE, message, "use lower-case letters, digits, - and _"
            )
        fields = self.reader.table(node, f"sink `{name}`", (*self._forms, *_MAY))
        forms = [form for form in Form if form.value in fields]
        if len(forms) != 1:
            message = f"sink `{name}` has {'no' if not forms else 'more than one'} form"
            self.reader.add(node, Finding.WRONG_VALUE, message, f"give one of {', '.join(self._forms)}")
            return None
        form = forms[0]
        known, needed = _KEYS[form]
        inner = self.reader.table(fields[form.value], f"`{form}`", known, required=(needed,))
        options = {
            key: self._option(key, child) for key, child in inner.items() if key not in {"secret", "token", "pen"}
        }
        word = "secret" if form is Form.WEBHOOK else "token"
        if form is Form.WEBHOOK and "secret" not in inner:
            self.reader.add(node, Finding.WRONG_VALUE, "a webhook needs a `secret`", "add `secret: {env: VARIABLE}`")
        if bool(options.get("cert")) != bool(options.get("key")):
            self.reader.add(node, Finding.WRONG_VALUE, "`cert` and `key` go together", "give both or neither")
        required = fields.get("required")
        return Sink(
            name,
            form,
            options,
            self._secret(inner[word], word) if word in inner else None,
            self.reader.boolean(required, "`required`") if required is not None else False,
            self._count(fields, "lag_max", LAG_MAX_DEFAULT),
            self.reader.duration_s(fields["timeout"], "`timeout`", default=TIMEOUT_S_DEFAULT)
            if "timeout" in fields
            else TIMEOUT_S_DEFAULT,
            self._count(inner, "pen", PEN),
        )

    def _count(self, fields: Mapping[str, Node], key: str, default: int) -> int:
        if key not in fields:
            return default
        return self.reader.integer(fields[key], f"`{key}`", minimum=1, maximum=_COUNT_MAX, default=default)

    def _option(self, key: str, node: Node) -> str:
        if key == "message":
            return self.reader.choice(node, "`message`", ("ocsf", "cef"), default="ocsf")
        text = self.reader.text(node, f"`{key}`", late=False)
        if key in {"folder", "ca", "cert", "key"}:
            return str((self.folder / text).resolve()) if text else ""
        wrong = _address_problem(text) if key == "address" else _url_problem(text)
        if text and wrong:
            self.reader.add(node, Finding.WRONG_VALUE, f"`{key}` {wrong}", "see docs/reference/export-formats.md")
        return text

    def _secret(self, node: Node, what: str) -> SecretRef | None:
        # Not the reader's words: they could show a value that somebody wrote here by mistake.
        fields = node.fields if node.kind is Kind.MAP else {}
        if len(fields) != 1 or not fields.keys() <= {"env", "file"}:
            message = f"`{what}` is a reference, never a value"
            self.reader.add(node, Finding.WRONG_TYPE, message, "write {env: VARIABLE} or {file: PATH}")
            return None
        (key, child), *_ = fields.items()
        text = self.reader.text(child, f"`{key}`", late=False)
        if not text:
            return None
        return SecretRef(env=text) if key == "env" else SecretRef(file=str((self.folder / text).resolve()))


def address_of(text: str) -> tuple[str, int]:
    """Host and port of ``HOST[:PORT]``; raises ``ValueError``."""
    parts = urlsplit(f"//{text}")
    if not parts.hostname or parts.path or parts.query or parts.username is not None:
        raise ValueError("is no HOST:PORT")
    return parts.hostname, parts.port or _PORT


def _address_problem(text: str) -> str:
    try:
        address_of(text)
    except ValueError:
        return "is no HOST:PORT"
    return ""


def _url_problem(text: str) -> str:
    try:
        parts = urlsplit(text)
        if parts.scheme not in {"http", "https"} or not parts.hostname or (parts.port or 0) < 0:
            return "is no http or https URL"
    except ValueError:
        return "is no http or https URL"
    return "has a user or password in it" if parts.username is not None else ""
