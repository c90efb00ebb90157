"""Ends STUN transactions of aioice before their timeout, when the system reports that no answer will arrive."""

from __future__ import annotations

from aioice import stun

from datachan.ice.link import TransportAddress
from datachan.ice.server_errors import UNREACHABLE


def fail_transaction(
    transactions: dict[bytes, stun.Transaction],
    request: stun.Message,
    address: TransportAddress,
    error: Exception,
    key: bytes | None = None,
) -> None:
    """End a request with an error response of our own, instead of repeating it until its timeout.

    RFC 8489, 6.2.1: "A STUN transaction over UDP or DTLS-over-UDP is also considered failed if there has been a hard
    ICMP error". A check that is authenticated with another key than `key` goes on.
    """
    transaction = transactions.get(request.transaction_id)
    if transaction is not None:
        answer = stun.Message(request.message_method, stun.Class.ERROR, request.transaction_id)
        answer.attributes["ERROR-CODE"] = (UNREACHABLE, str(error))
        if key is not None:
            answer.add_message_integrity(key)
        transaction.response_received(answer, address)
