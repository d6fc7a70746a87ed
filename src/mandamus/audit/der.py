"""The little of DER (X.690) that timestamps need: values with definite lengths, read strictly, and written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

INTEGER, OCTETS, NULL, OID, SEQUENCE, SET = 0x02, 0x04, 0x05, 0x06, 0x30, 0x31
BOOLEAN, TIME = 0x01, 0x18


class DerError(ValueError):
    """The bytes are not the DER that was expected."""


@dataclass(frozen=True)
class Value:
    """One value: its tag byte, its content, and all of it as it stood."""

    tag: int
    content: bytes
    whole: bytes

    def parts(self) -> list[Value]:
        """The values inside a constructed one."""
        return list(_values(self.content))

    def expect(self, tag: int) -> Value:
        """This value, once it has that tag."""
        if self.tag != tag:
            raise DerError(f"tag {self.tag:#x} where {tag:#x} belongs")
        return self

    @property
    def number(self) -> int:
        """The value of an INTEGER."""
        if not self.expect(INTEGER).content:
            raise DerError("an empty number")
        return int.from_bytes(self.content, "big", signed=True)

    @property
    def oid(self) -> str:
        """An OBJECT IDENTIFIER, dotted."""
        arcs, arc = list[int](), 0
        for byte in self.expect(OID).content:
            arc = arc << 7 | byte & 0x7F
            if not byte & 0x80:
                arcs.append(arc)
                arc = 0
        if not arcs or self.content[-1] & 0x80:
            raise DerError("an object identifier that does not end")
        first = min(arcs[0] // 40, 2)
        return ".".join(map(str, [first, arcs[0] - 40 * first, *arcs[1:]]))


def parse(data: bytes) -> Value:
    """The one value that the bytes are; raises `DerError`."""
    found = list(_values(data))
    if len(found) != 1:
        raise DerError(f"{len(found)} values where one belongs")
    return found[0]


def _values(data: bytes) -> Iterator[Value]:
    at = 0
    while at < len(data):
        if len(data) - at < 2 or data[at] & 0x1F == 0x1F:
            raise DerError("cut short, or a tag of several bytes")
        begin, length = at + 2, data[at + 1]
        if length & 0x80:
            count = length & 0x7F
            length = int.from_bytes(data[begin : begin + count], "big")
            begin += count
            if not 1 <= count <= 4 or length < 0x80 or data[at + 2] == 0:
                raise DerError("a length that is not written as DER does")
        if begin + length > len(data):
            raise DerError("cut short")
        yield Value(data[at], data[begin : begin + length], data[at : begin + length])
        at = begin + length


def write(tag: int, *contents: bytes) -> bytes:
    """A value with that content."""
    content = b"".join(contents)
    if len(content) < 0x80:
        return bytes([tag, len(content)]) + content
    length = len(content).to_bytes((len(content).bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(length)]) + length + content


def integer(number: int) -> bytes:
    """An INTEGER that is not negative."""
    return write(INTEGER, number.to_bytes(number.bit_length() // 8 + 1, "big"))


def oid(dotted: str) -> bytes:
    """An OBJECT IDENTIFIER."""
    first, second, *rest = map(int, dotted.split("."))
    content = b""
    for arc in [first * 40 + second, *rest]:
        groups = [arc & 0x7F]
        while arc := arc >> 7:
            groups.insert(0, arc & 0x7F | 0x80)
        content += bytes(groups)
    return write(OID, content)
