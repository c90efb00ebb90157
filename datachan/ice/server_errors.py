"""Describes the failure of a STUN or TURN server, with the codes of W3C's icecandidateerror."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from datachan.ice.link import TransportAddress
from datachan.ice.servers import ServerAddress
from datachan.ice_agent.turn_messages import UNREACHABLE


class ServerError(OSError):
    """A server gives nothing: it refuses, does not answer, or cannot be reached.

    Attributes:
        code: the STUN code of its answer; `UNREACHABLE` without one.
        text: the reason.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text if code == UNREACHABLE else f"{code} {text}")
        self.code = code
        self.text = text


class NoAddressInFamily(OSError):
    """The server has no address in the family of our socket."""


@dataclass(frozen=True)
class IceServerError:
    """A failure of one server.

    Attributes:
        url: the server's URL.
        code: the STUN error code of its answer, or `UNREACHABLE`.
        text: the reason in its answer, or a description of the failure.
        host: the local address that the request was sent from; None if there were several, or it is no candidate.
        port: the local port; None without `host`.
    """

    url: str
    code: int
    text: str
    host: str | None = None
    port: int | None = None


Failure = tuple[BaseException, TransportAddress | None]
"""The exception of one question to a server, and the local address of a candidate that it was asked from."""


def server_errors(server: ServerAddress, failures: Sequence[Failure], asked: int) -> list[IceServerError]:
    """Return the errors of one server, each code once.

    An unreachable server is an error only if none of the `asked` requests was answered.
    """
    found: dict[int, IceServerError] = {}
    for error, address in failures:
        code, text = _code_and_text(error)
        if code not in found and (code != UNREACHABLE or len(failures) == asked):
            host, port = address if address is not None and (code != UNREACHABLE or asked == 1) else (None, None)
            found[code] = IceServerError(server.url, code, text, host, port)
    return list(found.values())


def _code_and_text(error: BaseException) -> tuple[int, str]:
    if isinstance(error, ServerError):
        return error.code, error.text
    return UNREACHABLE, str(error) or type(error).__name__
