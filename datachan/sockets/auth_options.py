"""The socket options of authentication and of dynamic addresses (RFC 6458, sections 8.1.17, 8.1.18, 8.2.3, 8.2.4, 8.3).

Getters and setters have the form of those in `parameter_options`.
"""

from __future__ import annotations

import errno

from datachan.sctp.records.keys import HMAC_IDENTIFIERS

from .ancillary import Address
from .association_options import require_association, require_live
from .host_addresses import numeric_host
from .option_values import AuthKey
from .parameter_options import change_future
from .socket_association import SocketAssociation
from .socket_state import SocketState


def set_supported(sock: SocketState, value: object, assoc_id: int) -> None:
    """Set whether future associations announce authentication."""
    change_future(sock, authentication=bool(value))


def set_asconf(sock: SocketState, value: object, assoc_id: int) -> None:
    """Set whether future associations announce dynamic addresses, and with them authentication, which they need."""
    authentication = bool(value) or sock._settings.options.authentication
    change_future(sock, authentication=authentication, dynamic_addresses=bool(value))
    if sock._binding is not None:
        sock._announce_addresses(sock._binding)


def set_chunk(sock: SocketState, value: int, assoc_id: int) -> None:
    """Require authentication of one more chunk type in future associations."""
    chunks = sock._settings.options.authenticated_chunks
    change_future(sock, authentication=True, authenticated_chunks=tuple(dict.fromkeys((*chunks, value))))


def set_key(sock: SocketState, value: AuthKey, assoc_id: int) -> None:
    """Set a shared key."""
    future, present = sock._targets(assoc_id)
    if future:
        keys = dict(sock._settings.options.shared_keys)
        keys[value.keynumber] = value.key
        change_future(sock, shared_keys=tuple(keys.items()))
    for association in present:
        association.live().keys.set_key(value.keynumber, value.key)


def get_active(sock: SocketState, association: SocketAssociation | None, _: Address | None) -> int:
    """Return the number of the key that signs."""
    live = None if association is None else association.to_read()
    return sock._settings.options.active_key if live is None else live.keys.active


def set_active(sock: SocketState, value: int, assoc_id: int) -> None:
    """Sign with another key from now on."""
    future, present = sock._targets(assoc_id)
    if future:
        change_future(sock, active_key=value)
    for association in present:
        association.live().keys.activate(value)


def deactivate_key(sock: SocketState, value: int, assoc_id: int) -> None:
    """Stop signing messages with a key."""
    _, present = sock._targets(assoc_id)
    if not present:
        raise OSError(errno.EINVAL, "there is no association: a key is deactivated in an association")
    for association in present:
        association.live().keys.deactivate(value)


def delete_key(sock: SocketState, value: int, assoc_id: int) -> None:
    """Delete a key."""
    future, present = sock._targets(assoc_id)
    if future:
        kept = tuple([(number, key) for number, key in sock._settings.options.shared_keys if number != value])
        change_future(sock, shared_keys=kept)
    for association in present:
        association.live().keys.delete(value)


def get_hmacs(sock: SocketState, association: SocketAssociation | None, _: Address | None) -> tuple[int, ...]:
    """Return the supported HMAC algorithms in the order of preference: 3 is SHA-256, 1 is SHA-1."""
    return HMAC_IDENTIFIERS


def get_peer_chunks(sock: SocketState, association: SocketAssociation | None, _: Address | None) -> tuple[int, ...]:
    """Return the chunk types that the peer accepts only if they are authenticated."""
    return require_live(association)[1].peer_authenticated_chunks


def get_local_chunks(sock: SocketState, association: SocketAssociation | None, _: Address | None) -> tuple[int, ...]:
    """Return the chunk types that we accept only if they are authenticated."""
    options = sock._settings.options if association is None else association.settings.options
    return options.authenticated_chunks


def set_peer_primary(sock: SocketState, value: Address, assoc_id: int) -> None:
    """Request that the peer sends to this address of ours."""
    association = require_association(sock._chosen(assoc_id))
    association.live().request_peer_primary(numeric_host(value))
