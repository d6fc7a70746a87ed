"""Secrets: found at the last moment, every missing one named at once, and no value in any error."""

from __future__ import annotations

import os
import traceback

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mandamus.kernel.errors import Code, MandamusError
from mandamus.secrets.model import SecretRef, from_json
from mandamus.secrets.service import BYTES_MAX, Secrets


def resolve(folder, environ, **refs: SecretRef) -> dict[str, str]:
    return Secrets(environ, folder).resolve(refs)


def refused(folder, environ, **refs: SecretRef) -> MandamusError:
    with pytest.raises(MandamusError) as caught:
        resolve(folder, environ, **refs)
    assert caught.value.code is Code.SECRET_MISSING
    assert caught.value.remedy
    return caught.value


def test_values_come_from_variables_and_files(tmp_path):
    """One line end at the end of a file is no part of the value; everything else is."""
    for name, text in (("a", "hunter22\n"), ("b", "line1\r\nline2\r\n"), ("c", " spaced \n\n"), ("d", "bare")):
        (tmp_path / name).write_bytes(text.encode())
    refs = {name: SecretRef(file=name) for name in "abcd"}
    found = resolve(tmp_path, {"T": "token-1\n"}, t=SecretRef(env="T"), **refs)
    assert found == {"t": "token-1\n", "a": "hunter22", "b": "line1\r\nline2", "c": " spaced \n", "d": "bare"}


def test_absolute_files_and_links_are_followed(tmp_path):
    """An orchestrator's secret volume is a folder of links; the platform file's author chose the path."""
    real = tmp_path / "real"
    real.write_text("hunter22")
    (tmp_path / "link").symlink_to(real)
    refs = {"a": SecretRef(file=str(real)), "b": SecretRef(file="link")}
    assert resolve(tmp_path / "elsewhere" / "..", {}, a=refs["a"]) == {"a": "hunter22"}
    assert resolve(tmp_path, {}, **refs) == {"a": "hunter22", "b": "hunter22"}


def test_every_missing_secret_is_named_at_once(tmp_path):
    """Names, places and reasons of all, in order; the good ones are not in it."""
    (tmp_path / "short").write_text("abc\n")
    (tmp_path / "nul").write_bytes(b"hunter\x0022")
    (tmp_path / "latin").write_bytes(b"hunter22\xe9")
    (tmp_path / "large").write_bytes(b"x" * (BYTES_MAX + 1))
    os.mkfifo(tmp_path / "pipe")
    files = {name: SecretRef(file=name) for name in ("short", "nul", "latin", "large", "pipe", "gone", ".")}
    files["itself"] = files.pop(".")
    error = refused(
        tmp_path,
        {"SHORT": "xyz", "EMPTY": "", "GOOD": "hunter22", "BYTES": "hunter\udcff22"},
        good=SecretRef(env="GOOD"),
        unset=SecretRef(env="UNSET"),
        tiny=SecretRef(env="SHORT"),
        empty=SecretRef(env="EMPTY"),
        bytes=SecretRef(env="BYTES"),
        **files,
    )
    told = dict(part.split(": ", 1) for part in error.message.partition(": ")[2].split("; "))
    assert told == {
        "bytes (variable BYTES)": "holds a NUL or bytes that are not UTF-8",
        "empty (variable EMPTY)": "shorter than 4 characters, too short to be kept out of output",
        "itself (file .)": "no regular file",
        "gone (file gone)": "No such file or directory",
        "large (file large)": "over 64 KiB",
        "latin (file latin)": "holds a NUL or bytes that are not UTF-8",
        "nul (file nul)": "holds a NUL or bytes that are not UTF-8",
        "pipe (file pipe)": "no regular file",
        "short (file short)": "shorter than 4 characters, too short to be kept out of output",
        "tiny (variable SHORT)": "shorter than 4 characters, too short to be kept out of output",
        "unset (variable UNSET)": "the variable is not set",
    }
    assert error.context["secrets"] == sorted(name.partition(" ")[0] for name in told)


@given(st.binary(max_size=60).map(lambda data: data + b"\xff"))
def test_no_error_holds_a_value(tmp_path_factory, data):
    """Not in the four parts, not in the traceback, not in what the error was raised from."""
    folder = tmp_path_factory.mktemp("s")
    (folder / "f").write_bytes(b"hunter22" + data + b"hunter22")
    try:
        Secrets({}, folder).resolve({"f": SecretRef(file="f")})
    except MandamusError as error:
        shown = "".join(traceback.format_exception(error)) + str(error.to_json())
        chained = [error.__cause__, error.__context__]
    else:
        shown, chained = "", []
    assert "hunter22" not in shown
    assert all(each is None for each in chained)


def test_a_variable_is_read_when_it_is_needed(tmp_path):
    """A rotated secret is used from the next step on; nothing is kept."""
    environ = {"T": "first-one"}
    secrets = Secrets(environ, tmp_path)
    refs = {"t": SecretRef(env="T")}
    assert secrets.resolve(refs) == {"t": "first-one"}
    environ["T"] = "second-one"
    assert secrets.resolve(refs) == {"t": "second-one"}
    assert "one" not in repr(vars(secrets)).replace(repr(environ), "")


def test_a_reference_names_one_place():
    """Neither none nor two; its stored form says no more than where."""
    for env, file in (("", ""), ("A", "b")):
        with pytest.raises(AssertionError, match="exactly one"):
            SecretRef(env=env, file=file)
    for ref in (SecretRef(env="A"), SecretRef(file="/b")):
        assert from_json(ref.to_json()) == ref
    assert [str(SecretRef(env="A")), str(SecretRef(file="/b"))] == ["variable A", "file /b"]
