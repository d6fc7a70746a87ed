"""Makes a tool's output fit to be shown: colours stay, everything else a terminal would act on goes."""

from __future__ import annotations

import codecs
import re

_SEQUENCE_MAX = 4096
"""A control sequence that has not ended by then is shown as text without its introducer."""

_TOKEN = re.compile(
    "\x1b\\[[0-?]*[ -/]*[@-~]"  # CSI (ECMA-48 5.4): parameters, intermediates, one final byte
    "|\x1b[\\]PX^_][^\x07\x1b\x9c]*(?:\x07|\x1b\\\\|\x9c)"  # OSC, DCS, SOS, PM, APC up to their terminator
    "|\x1b[ -/]*[0-~]"  # other escape sequences
    "|\r\n?"
    "|[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]"
)
_COLOUR = re.compile("\x1b\\[[0-9;:]*m")
_CONCEAL = re.compile("[\\[;:]0*8[;m]")
_UNFINISHED = re.compile("\x1b(?:\\[[0-?]*[ -/]*|[\\]PX^_][^\x07\x1b\x9c]*\x1b?|[ -/]*)?\\Z|\r\\Z")


class Shown:
    """A filter for output that arrives in chunks cut anywhere; the result does not depend on where.

    With ``colour=False`` the tool's colours go too.
    """

    def __init__(self, *, colour: bool) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._colour = colour
        self._coloured = False
        self._held = ""

    def feed(self, data: bytes) -> str:
        """Take a chunk; give the text that is certain by now."""
        text = self._held + self._decoder.decode(data)
        unfinished = _UNFINISHED.search(text)
        self._held = ""
        if unfinished and len(unfinished.group()) <= _SEQUENCE_MAX:
            text, self._held = text[: unfinished.start()], unfinished.group()
        return _TOKEN.sub(self._kept, text)

    def close(self) -> str:
        """Give what was held back, and put the colours back as they were."""
        text = self._held.replace("\x1b", "") + self._decoder.decode(b"", final=True)
        self._held = ""
        return _TOKEN.sub(self._kept, text) + ("\x1b[0m" if self._coloured else "")

    def _kept(self, found: re.Match[str]) -> str:
        token = found.group()
        if token.startswith("\r"):
            return "\n"
        # Concealed text (SGR 8) would be in the log and not on the screen.
        if self._colour and _COLOUR.fullmatch(token) and not _CONCEAL.search(token):
            self._coloured = True
            return token
        return ""
