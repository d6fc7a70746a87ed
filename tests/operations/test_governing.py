"""What governs a home, its settings, keys, sinks, anchors and witnesses, is in its log when it opens."""

from __future__ import annotations

import base64
import getpass
import hashlib

import pytest

from mandamus.audit.cosign import Cosigner
from mandamus.audit.kinds import Kind
from mandamus.audit.signer import Signer
from mandamus.bootstrap.governing import DIGESTED, PLAIN, governing, usual
from mandamus.bootstrap.house import open_house
from mandamus.kernel import canonical
from mandamus.settings import Settings

_SIGNER = Signer("notary.example.com", b"\x0a" * 32)
WITNESS = Cosigner(_SIGNER.name, _SIGNER.verifier.public).vkey

BESIDE = {
    "home": "which home it is; the event is in its log",
    "user": "who acts is in every event",
    "ticket": "it is in every event",
    "debug": "it shows more and allows nothing",
    "database_url": "where the rows are, with a password",
    "origin": "fixed when the home is made, and in every checkpoint",
    "log_key": "the key itself; `keys.log` says where it comes from",
    "platform_key": "the key itself; `keys.platform` says where it comes from",
    "key_timeout_s": "how long a machine may take",
    "policy_workers": "how much of a machine is used",
    "terraform_path": "the tool and its version are in what a run records",
    "terraform_cli_config": "where a tool looks for its parts; the run's lock file names them by digest",
    "http_roots": "whom a step of a run trusts",
    "server": "where commands go, not what governs this home",
    "token": "who a command is on a server",
    "server_roots": "whom a command trusts to be its server",
    "output_bytes_max": "how much is shown; the cut is visible",
}
"""Settings that are not told, with the reason."""


@pytest.fixture
def opened(tmp_path):
    """Open the home with these settings and say what its log tells of them."""

    def told(**settings):
        house = open_house(Settings(**settings), {}, tmp_path / "home", None)
        try:
            return house.audit.told(Kind.HOME_CONFIGURED)
        finally:
            house.close()

    return told


def test_every_setting_is_told_or_has_a_reason_not_to_be():
    """A new setting is not forgotten: it governs, or somebody wrote down why it does not."""
    told = {*PLAIN, *DIGESTED}
    assert told | BESIDE.keys() == Settings.model_fields.keys()
    assert not told & BESIDE.keys()


def test_a_home_tells_what_governs_it_when_that_changes(opened, tmp_path):
    """Nothing for a fresh home; then a setting, a sink and an anchor, by whom, once; and that they are gone."""
    assert opened() == []
    home = tmp_path / "home"
    (home / "sinks.yaml").write_text("sinks:\n  archive: {files: {folder: out}, required: true}\n")
    (home / "anchors.yaml").write_text("anchors:\n  shelf: {kind: folder, path: shelf}\n")
    opened(audit_lag_block_s=30)
    (told,) = opened(audit_lag_block_s=30)
    assert (told["who"]["subject"], told["who"]["authn"]) == (getpass.getuser(), "os-user")
    changes = {each["field"]: (each["before"], each["after"]) for each in told["data"]["changes"]}
    assert changes.pop("anchors.shelf.declared")[0] is None
    assert changes.pop("sinks.archive.declared")[0] is None
    assert changes == {
        "settings.audit_lag_block_s": (300, 30),
        "sinks.archive.form": (None, "files"),
        "sinks.archive.required": (None, True),
        "anchors.shelf.kind": (None, "folder"),
        "anchors.shelf.every_s": (None, 3600),
    }
    (home / "sinks.yaml").unlink()
    (home / "anchors.yaml").unlink()
    _, back = opened()
    assert {each["field"] for each in back["data"]["changes"]} == changes.keys() | {
        "anchors.shelf.declared",
        "sinks.archive.declared",
    }


def test_a_file_that_does_not_fit_is_said_and_stops_nothing(opened, tmp_path):
    """The home opens as before, and its log says that nobody could read what was declared."""
    opened()
    (tmp_path / "home" / "sinks.yaml").write_text("sinks: [\n")
    (told,) = opened()
    assert told["data"]["changes"] == [{"field": "sinks.file", "before": None, "after": "unreadable"}]


def test_witnesses_are_told_by_name_and_quorum(opened, tmp_path):
    """Who must have cosigned, by name, and the policy file by its digest."""
    opened()
    policy = tmp_path / "home" / "witnesses"
    policy.write_text(f"witness notary {WITNESS}\nquorum notary\n")
    (told,) = opened(witness_mode="grace")
    changes = {each["field"]: each["after"] for each in told["data"]["changes"]}
    assert changes == {
        "settings.witness_mode": "grace",
        "witnesses.names": "notary",
        "witnesses.policy": "sha256:" + hashlib.sha256(policy.read_bytes()).hexdigest(),
        "witnesses.quorum": "notary",
    }


def test_no_secret_is_told(tmp_path):
    """Keys, tokens in commands, and passwords in addresses: the place or a digest stands there, never the value."""
    seed = base64.b64encode(b"\x11" * 32).decode()
    settings = Settings(
        log_key=seed,
        platform_key_command="sign --token hunter2",
        policy_url="https://opa:hunter3@opa.example.com:8181/v1?key=hunter4",
    )
    (tmp_path / "sinks.yaml").write_text(
        "sinks:\n  hook: {webhook: {url: 'https://siem.example.com/hunter5', secret: {env: HOOK}}}\n"
    )
    told = governing(settings, tmp_path, None)
    written = canonical.dumps(told).decode()
    assert seed not in written
    assert "hunter" not in written
    assert told["settings"]["policy_server"] == "opa.example.com:8181"
    assert told["settings"]["policy_url"] == canonical.digest_of(settings.policy_url)
    assert told["keys"] == {"log": "environment", "platform": "command"}
    assert usual(Settings())["keys"] == {"log": "home", "platform": "home"}
