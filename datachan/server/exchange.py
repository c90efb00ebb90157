"""HTTP requests and responses as values, so that any web framework can carry the signaling; knows no framework."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from datachan.signaling.turn_credentials import TurnSecret

MAX_BODY_SIZE: Final = 64 * 1024
"""Bytes of the body of one request. An offer of a browser with ten candidates has about 3,000."""

ReadBody: TypeAlias = Callable[[int], Awaitable[bytes]]
"""Reads the whole body; raises `Refusal` if it has more bytes than this."""


@dataclass(frozen=True, slots=True)
class SignalingRequest:
    """A request as the authentication hook sees it.

    Attributes:
        method: The HTTP method, in capitals.
        path: The path that the client requested, as the server sees it behind its proxies.
        session: The id in the path behind the endpoint; None for the endpoint itself.
        headers: The header fields, by name in lower case.
        query: The fields of the query.
        remote: The address of the client, found behind trusted proxies.
        host: The host that the client addressed: the `Host` field, in lower case.
    """

    method: str
    path: str
    session: str | None
    headers: Mapping[str, str]
    query: Mapping[str, str]
    remote: str
    host: str

    @property
    def bearer_token(self) -> str | None:
        """The token of `Authorization: Bearer`, or None."""
        scheme, _, token = self.headers.get("authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" and token.strip() else None

    @property
    def content_type(self) -> str:
        """The media type of the body in lower case, without its parameters."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


@dataclass(frozen=True, slots=True)
class SignalingResponse:
    """The response to a request."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


def location_of(request: SignalingRequest, session: str) -> str:
    """Return the reference to a new session: relative to the endpoint, because a proxy may have changed its path."""
    endpoint = request.path.rpartition("/")[2]
    return f"./{endpoint}/{session}" if endpoint else f"./{session}"


def ice_server_links(turn: TurnSecret, now: float) -> str:
    """Return a `Link` header field that names TURN servers with fresh credentials (RFC 9725, section 4.6).

    Args:
        turn: The servers, and the secret that they share with this one.
        now: The time in seconds since 1970.
    """
    username, credential = turn.credentials(now)
    return ", ".join(
        f'<{url}>; rel="ice-server"; username="{username}"; credential="{credential}"; credential-type="password"'
        for url in turn.urls
    )


class Refusal(Exception):
    """A request that is not carried out. `code` is for programs, `sentence` for people.

    Args:
        status: The HTTP status.
        code: The reason, for programs.
        sentence: The reason, for people.
        headers: Further header fields of the response.
    """

    def __init__(self, status: int, code: str, sentence: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(sentence)
        self.status = status
        self.code = code
        self.sentence = sentence
        self.headers = dict(headers or {})

    def response(self) -> SignalingResponse:
        """Return the response that tells the client."""
        body = json.dumps({"error": {"code": self.code, "message": self.sentence}}).encode()
        return SignalingResponse(self.status, {"Content-Type": "application/json", **self.headers}, body)
