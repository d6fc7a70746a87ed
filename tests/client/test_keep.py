"""The file of tokens on a user's machine."""

from __future__ import annotations

import json
import stat

import pytest

from mandamus.client.keep import Keep
from mandamus.kernel.errors import Code, MandamusError

URL = "https://mandamus.example.com"


def test_tokens_are_kept_by_server_for_nobody_else(tmp_path):
    """A file of mode 0600 in a folder of mode 0700; a new token takes the place of the old one of that server alone."""
    keep = Keep(tmp_path / "config" / "mandamus")
    assert keep.token_of(URL) is None
    keep.put("https://other.example.com", "other")
    for token in ("first", "second"):
        keep.put(URL, token)
    assert (keep.token_of(URL), keep.token_of("https://other.example.com")) == ("second", "other")
    assert stat.S_IMODE(keep.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(keep.path.parent.stat().st_mode) == 0o700
    assert [each.name for each in keep.path.parent.iterdir()] == [keep.path.name]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602])
def test_a_file_that_others_may_touch_is_not_used(tmp_path, mode):
    """Whoever may read it has the tokens; whoever may write it chooses whom one acts as."""
    keep = Keep(tmp_path)
    keep.put(URL, "secret")
    keep.path.chmod(mode)
    for use in (lambda: keep.token_of(URL), lambda: keep.put(URL, "new")):
        with pytest.raises(MandamusError) as raised:
            use()
        assert raised.value.code is Code.USAGE
        assert "secret" not in json.dumps(raised.value.to_json())


def test_a_link_or_a_damaged_file_is_not_followed_or_believed(tmp_path):
    """Told with the file's name and the way out."""
    keep = Keep(tmp_path)
    target = tmp_path / "elsewhere"
    target.write_text("{}")
    target.chmod(0o600)
    keep.path.symlink_to(target)
    for content in (None, "{", "[]", '{"a": 1}'):
        if content is not None:
            keep.path.unlink(missing_ok=True)
            keep.path.write_text(content)
            keep.path.chmod(0o600)
        with pytest.raises(MandamusError) as raised:
            keep.token_of(URL)
        assert str(keep.path) in raised.value.message
        assert "login" in raised.value.remedy
