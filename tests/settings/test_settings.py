"""Settings: what is not said takes its default, and nothing that was meant for us is overlooked."""

from __future__ import annotations

from pathlib import Path

import pytest

from mandamus.kernel.errors import Code, MandamusError
from mandamus.settings import PREFIX, Settings, load


def refused(environ: dict[str, str]) -> list[str]:
    """The lines of the error, one a variable."""
    with pytest.raises(MandamusError) as caught:
        load(environ)
    assert caught.value.code is Code.USAGE
    assert caught.value.remedy
    return caught.value.message.splitlines()


def test_an_empty_environment_gives_the_defaults():
    """Nothing has to be set; other programs' variables are not ours."""
    assert load({}) == Settings()
    assert load({"HOME": "/root", "MANDAMUSX": "1", "XMANDAMUS_HOME": "/x"}) == Settings()


def test_every_setting_is_read_from_its_variable():
    """The variable is the prefix and the setting's name in capitals, and the value gets the setting's type."""
    given = {
        "home": "/srv/m",
        "user": "ada",
        "ticket": "CHG-1",
        "debug": "true",
        "database_url": "postgresql://host/db",
        "origin": "log.example.com/m",
        "log_key": "AAAA",
        "log_key_command": "/opt/kms --key log",
        "platform_key": "BBBB",
        "platform_key_command": "/opt/kms --key platform",
        "key_timeout_s": "3",
        "terraform_path": "/usr/bin/tofu",
        "terraform_cli_config": "/etc/terraformrc",
        "http_roots": "/etc/ssl/roots.pem",
        "server": "https://mandamus.example.com",
        "server_roots": "/etc/ssl/house.pem",
        "public_url": "https://console.example.com/m",
        "trusted_proxies": "10.0.0.7,fd00::/64",
        "token": "mdm_shown",
        "policy_workers": "5",
        "policy_deadline_ms": "600",
        "policy_url": "https://opa.example.com:8181",
        "policy_token_file": "/run/secrets/opa",
        "policy_roots": "/etc/ssl/opa.pem",
        "audit_timeout_s": "7",
        "audit_lag_warn_s": "5",
        "audit_lag_block_s": "50",
        "disk_free_min_percent": "5",
        "disk_enough_gib": "100",
        "witness_mode": "grace",
        "witness_grace_min": "90",
        "witness_timeout_s": "4",
        "output_bytes_max": "100000",
    }
    assert given.keys() == Settings.model_fields.keys()
    made = load({PREFIX + name.upper(): value for name, value in given.items()})
    assert made.home == Path("/srv/m")
    assert made.debug is True
    assert {name: str(getattr(made, name)) for name in given} == {**given, "debug": "True"}


def test_every_setting_has_a_help_text():
    """The reference page and ``doctor`` show what each is for."""
    assert all(field.description for field in Settings.model_fields.values())


def test_an_empty_variable_counts_as_unset():
    """``MANDAMUS_HOME= mandamus ...`` is how a shell takes a variable away; it never names the current folder."""
    assert load({PREFIX + name.upper(): "" for name in Settings.model_fields}) == Settings()


def test_every_variable_that_does_not_fit_is_named_at_once():
    """Wrong type, out of bounds, wrong form and a mistyped name: one line each, in one error."""
    lines = refused(
        {
            "MANDAMUS_OUTPUT_BYTES_MAX": "many",
            "MANDAMUS_POLICY_WORKERS": "17",
            "MANDAMUS_POLICY_DEADLINE_MS": "49",
            "MANDAMUS_DATABASE_URL": "mysql://host/db",
            "MANDAMUS_DEBUG": "perhaps",
            "MANDAMUS_POLICY_WORKER": "2",
            "MANDAMUS_AUDIT_TIMEOUT_S": "30",
        }
    )
    assert sorted(line.partition(":")[0] for line in lines) == [
        "MANDAMUS_DATABASE_URL",
        "MANDAMUS_DEBUG",
        "MANDAMUS_OUTPUT_BYTES_MAX",
        "MANDAMUS_POLICY_DEADLINE_MS",
        "MANDAMUS_POLICY_WORKER",
        "MANDAMUS_POLICY_WORKERS",
    ]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("MANDAMUS_POLICY_WORKER", "MANDAMUS_POLICY_WORKERS"),
        ("MANDAMUS_POLICY_DEADLINE", "MANDAMUS_POLICY_DEADLINE_MS"),
        ("MANDAMUS_DATABSE_URL", "MANDAMUS_DATABASE_URL"),
        ("MANDAMUS_home", "MANDAMUS_HOME"),
        ("mandamus_debug", "MANDAMUS_DEBUG"),
    ],
)
def test_a_mistyped_name_is_told(name, meant):
    """A limit that somebody meant to set must not be passed over in silence."""
    assert refused({name: "2"}) == [f"{name}: no such setting; did you mean `{meant}`?"]


@pytest.mark.parametrize(
    "name", ["SERVICE_HOST", "SERVICE_PORT_HTTP", "PORT", "PORT_8080_TCP_ADDR", "DB_SERVICE_HOST", "DEPLOY_TOKEN"]
)
def test_names_that_others_give_are_let_through(name):
    """Kubernetes sets such variables for a service called mandamus, and secrets may carry the prefix."""
    assert load({PREFIX + name: "tcp://10.0.0.1:80"}) == Settings()


def test_a_value_does_not_stand_in_the_error():
    """A database URL holds a password; what is told is the name and the reason."""
    (line,) = refused({"MANDAMUS_DATABASE_URL": "postgres://ada:hunter22@host/db"})
    assert line.startswith("MANDAMUS_DATABASE_URL: ")
    assert "hunter22" not in line


def test_settings_do_not_change():
    """Once checked they stay as they were, and there is no setting without a field."""
    with pytest.raises(ValueError, match="frozen"):
        Settings().debug = True  # type: ignore[misc]
    with pytest.raises(ValueError, match="extra_forbidden"):
        Settings(nothing=1)  # type: ignore[call-arg]
