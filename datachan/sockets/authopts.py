"""The socket options of authentication (RFC 6458, sections 8.1.17, 8.1.18, 8.2.3, 8.2.4 and 8.3.2 to 8.3.5), and of
dynamic addresses. Like those in `sockopts`.
"""

from __future__ import annotations

import errno
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from datachan.sctp.addresses import normalize
from datachan.sctp.auth import HMAC_IDENTIFIERS

from .ancillary import Address
from .constants import AssocId
from .options import AuthKey

if TYPE_CHECKING:
    from .association import SocketAssociation
    from .base import SctpSocket


def _change_future(sock: SctpSocket, **changes: Any) -> None:
    sock._change_future_options(replace(sock._settings.options, **changes))


def set_supported(sock: SctpSocket, value: object, assoc_id: int) -> None:
    """Announce it, to peers of associations to come."""
    _change_future(sock, authentication=bool(value))


def set_asconf(sock: SctpSocket, value: object, assoc_id: int) -> None:
    """Announce it, and authentication, without which it may not be; to peers of associations to come."""
    wanted = bool(value)
    authentication = wanted or sock._settings.options.authentication
    _change_future(sock, authentication=authentication, dynamic_addresses=wanted)
    if sock._binding is not None:
        sock._apply_addresses(sock._binding)


def set_chunk(sock: SctpSocket, value: int, assoc_id: int) -> None:
    """Accept one more type of chunks only if they are authenticated, in associations to come."""
    chunks = sock._settings.options.authenticated_chunks
    _change_future(sock, authentication=True, authenticated_chunks=tuple(dict.fromkeys((*chunks, value))))


def set_key(sock: SctpSocket, value: AuthKey, assoc_id: int) -> None:
    """Set a shared key, for associations to come and those that are, as `assoc_id` says."""
    future, present = sock._targets(assoc_id)
    if future:
        keys = dict(sock._settings.options.shared_keys)
        keys[value.keynumber] = value.key
        _change_future(sock, shared_keys=tuple(keys.items()))
    for association in present:
        association.live().keys.set_key(value.keynumber, value.key)


def get_active(sock: SctpSocket, association: SocketAssociation | None, _: Address | None) -> int:
    """The key that is signed with."""
    live = None if association is None else association.look()
    return sock._settings.options.active_key if live is None else live.keys.active


def set_active(sock: SctpSocket, value: int, assoc_id: int) -> None:
    """Sign with another key what is sent from now on."""
    future, present = sock._targets(assoc_id)
    if future:
        _change_future(sock, active_key=value)
    for association in present:
        association.live().keys.activate(value)


def deactivate(sock: SctpSocket, value: int, assoc_id: int) -> None:
    """Sign nothing new with a key."""
    _, present = sock._targets(assoc_id)
    if not present:
        raise OSError(errno.EINVAL, "a key is deactivated in an association")
    for association in present:
        association.live().keys.deactivate(value)


def delete(sock: SctpSocket, value: int, assoc_id: int) -> None:
    """Forget a key."""
    future, present = sock._targets(assoc_id)
    if future and assoc_id != AssocId.SCTP_CURRENT_ASSOC:
        kept = tuple([(number, key) for number, key in sock._settings.options.shared_keys if number != value])
        _change_future(sock, shared_keys=kept)
    for association in present:
        association.live().keys.delete(value)


def get_hmacs(sock: SctpSocket, association: SocketAssociation | None, _: Address | None) -> tuple[int, ...]:
    """The algorithms we know, the first the most wanted: 3 is SHA-256, 1 SHA-1."""
    return HMAC_IDENTIFIERS


def get_peer_chunks(sock: SctpSocket, association: SocketAssociation | None, _: Address | None) -> tuple[int, ...]:
    """The types of chunks the peer wants authenticated."""
    live = None if association is None else association.look()
    if live is None:
        raise OSError(errno.EINVAL, "there is no association to ask about")
    return live.peer_authenticated_chunks


def get_local_chunks(sock: SctpSocket, association: SocketAssociation | None, _: Address | None) -> tuple[int, ...]:
    """The types of chunks we want authenticated."""
    options = sock._settings.options if association is None else association.settings.options
    return options.authenticated_chunks


def set_peer_primary(sock: SctpSocket, value: Address, assoc_id: int) -> None:
    """Ask the peer to send to this address of ours."""
    association = sock._chosen(assoc_id)
    if association is None:
        raise OSError(errno.EINVAL, "this option is about one association")
    association.live().request_peer_primary(normalize(value[0]))
