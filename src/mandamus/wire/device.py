"""What a device and this server say to each other, in the words of RFC 8628."""

from __future__ import annotations

from mandamus.identity.devices import TOKEN_S, Asked, NotYet
from mandamus.identity.tokens import Minted
from mandamus.wire.base import Wire


class DeviceCode(Wire):
    """What a device that asks is given (RFC 8628, 3.2). The person types ``user_code`` at ``verification_uri``."""

    device_code: str
    user_code: str
    verification_uri: str
    expires_in: int
    interval: int


class DeviceToken(Wire):
    """The token that a device was granted (RFC 6749, 5.1)."""

    access_token: str
    token_type: str
    expires_in: int


class DeviceError(Wire):
    """Why there is none, or none yet (RFC 8628, 3.5; RFC 6749, 5.2)."""

    error: str
    error_description: str


_DESCRIPTIONS = {
    NotYet.PENDING: "nobody has let the device in yet; ask again",
    NotYet.SLOW_DOWN: "that was too soon; wait 5 seconds longer from now on",
    NotYet.DENIED: "the device was refused",
    NotYet.EXPIRED: "nobody let the device in in time; start anew",
    NotYet.UNKNOWN: "this code is unknown, or was used",
}


def device_code(asked: Asked, verification_uri: str) -> DeviceCode:
    """What a device is given."""
    return DeviceCode(
        device_code=asked.device_code,
        user_code=asked.user_code,
        verification_uri=verification_uri,
        expires_in=asked.expires_s,
        interval=asked.interval_s,
    )


def device_token(minted: Minted) -> DeviceToken:
    """The token of a device."""
    return DeviceToken(access_token=minted.secret, token_type="Bearer", expires_in=TOKEN_S)  # noqa: S106 - RFC 6750


def device_error(why: NotYet) -> DeviceError:
    """Why a device has no token."""
    return DeviceError(error=why.value, error_description=_DESCRIPTIONS[why])
