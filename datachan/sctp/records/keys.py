"""Authenticated chunks: keys, key vectors and HMACs (RFC 4895).

It knows bytes, keys and chunk types, but no association. It signs the packets we send, and selects the chunks of a
received packet that may be processed.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from typing import Final

from datachan.sctp.errors import InvalidState, UnknownKey
from datachan.sctp.wire import causes
from datachan.sctp.wire.causes import ErrorCause
from datachan.sctp.wire.chunks import DATA, INIT, INIT_ACK, SACK, SHUTDOWN_COMPLETE, Chunk
from datachan.sctp.wire.extensions import (
    ASCONF,
    ASCONF_ACK,
    AUTH,
    AUTH_HEADER_LENGTH,
    FORWARD_TSN,
    I_DATA,
    I_FORWARD_TSN,
    AuthChunk,
)
from datachan.sctp.wire.parameters import (
    HMAC_ALGO,
    RANDOM,
    ChunkList,
    Parameter,
    Random,
    RequestedHmacAlgorithms,
    parse_parameters_untrusted,
)

SHA1: Final = 1
SHA256: Final = 3
HMAC_IDENTIFIERS: Final = (SHA256, SHA1)
"""The algorithms we announce. RFC 4895, 6.1: "The HMAC algorithm based on SHA-1 MUST be supported and included in the
HMAC-ALGO parameter." """

RANDOM_LENGTH: Final = 32
MAX_KEY_VECTOR: Final = 512
"""The most bytes of the parameters that a peer contributes to the keys; they must fit the State Cookie."""

NEVER_LISTED: Final = frozenset({INIT, INIT_ACK, SHUTDOWN_COMPLETE, AUTH})

_FILLING: Final = frozenset({DATA, SACK, I_DATA, FORWARD_TSN, I_FORWARD_TSN})
"""Chunks that may fill a packet."""

_DIGESTS: Final = {SHA1: ("sha1", 20), SHA256: ("sha256", 32)}


class KeyRing:
    """The endpoint pair shared keys of an association, as the application sets them.

    Attributes:
        keys: the keys by Shared Key Identifier.
        active: the identifier of the key that new messages are signed with.
        deactivated: identifiers of keys that nothing new is signed with.
        retiring: the deactivated keys that queued or outstanding messages still use.
    """

    __slots__ = ("active", "deactivated", "keys", "retiring")

    def __init__(self, keys: Sequence[tuple[int, bytes]] = (), active: int = 0) -> None:
        # RFC 4895, 6.2: "If the endpoint has no endpoint pair shared key for the peer, it MUST use Shared Key
        # Identifier zero with an empty endpoint pair shared key."
        self.keys: dict[int, bytes] = {0: b"", **dict(keys)}
        self.active = active
        self.deactivated: frozenset[int] = frozenset()
        self.retiring: frozenset[int] = frozenset()

    def set_key(self, key_id: int, key: bytes) -> None:
        """Set or replace an endpoint pair shared key; the peer needs the same key.

        Args:
            key_id: the Shared Key Identifier, 0 to 65535.
            key: the key; empty for the null key.

        Raises:
            ValueError: the identifier is out of range.
        """
        if not 0 <= key_id < 65536:
            raise ValueError(f"the Shared Key Identifier is {key_id}; it may be 0 to 65535")
        self.keys[key_id] = key
        self.deactivated -= {key_id}
        self.retiring -= {key_id}

    def activate(self, key_id: int) -> None:
        """Sign new messages with this key.

        Raises:
            UnknownKey: the key does not exist or was deactivated.
        """
        self.active = self.usable(key_id)

    def deactivate(self, key_id: int) -> None:
        """Sign nothing new with this key. `AuthenticationChanged` reports when it is no longer in use.

        Raises:
            UnknownKey: the key does not exist or was deactivated already.
            InvalidState: it is the active key.
        """
        self.usable(key_id)
        if key_id == self.active:
            raise InvalidState(f"key {key_id} is the active one")
        self.deactivated |= {key_id}
        self.retiring |= {key_id}

    def delete(self, key_id: int) -> None:
        """Remove a deactivated key that is no longer in use; chunks that the peer signs with it are then discarded.

        Raises:
            UnknownKey: the key does not exist.
            InvalidState: the key was not deactivated, or is in use.
        """
        if key_id not in self.keys:
            raise UnknownKey(f"there is no key {key_id}")
        if key_id not in self.deactivated or key_id in self.retiring:
            raise InvalidState(f"key {key_id} is in use")
        del self.keys[key_id]
        self.deactivated -= {key_id}

    def release(self, used: set[int]) -> list[int]:
        """Return the deactivated keys that are no longer in use; `used` are the keys still in use."""
        released = sorted(self.retiring - used)
        self.retiring &= used
        return released

    def usable(self, key_id: int) -> int:
        """Return `key_id` if new messages may be signed with that key.

        Raises:
            UnknownKey: the key does not exist or was deactivated.
        """
        if key_id not in self.keys or key_id in self.deactivated:
            raise UnknownKey(f"there is no key {key_id}, or it was deactivated")
        return key_id


class Authenticator:
    """Signs packets sent and checks packets received in one association.

    Args:
        keys: the shared keys.
        local_vector: our three parameters, as `key_vector` joins them.
        peer_vector: the peer's parameters, joined in the same way.
        local_chunks: the chunk types we accept only when they are authenticated.
        peer_chunks: the chunk types the peer accepts only when they are authenticated.
        hmac_id: the algorithm that the peer requires.

    Attributes:
        peer_key: the identifier of the key that the peer signed with last.
        overhead: the length of an AUTH chunk in bytes.
    """

    __slots__ = (
        "_digest",
        "_first",
        "_keys",
        "_last",
        "_signed_types",
        "hmac_id",
        "local_chunks",
        "overhead",
        "peer_chunks",
        "peer_key",
    )

    def __init__(
        self,
        keys: KeyRing,
        local_vector: bytes,
        peer_vector: bytes,
        local_chunks: frozenset[int],
        peer_chunks: frozenset[int],
        hmac_id: int,
    ) -> None:
        self._keys = keys
        # RFC 4895, 6.1: "selecting the numerically smaller key vector and concatenating it to the endpoint pair shared
        # key, and then concatenating the numerically larger key vector to that. If the key vectors are equal as numbers
        # but differ in length, then the concatenation order is the endpoint shared key, followed by the shorter key
        # vector, followed by the longer key vector."
        vectors = sorted((local_vector, peer_vector), key=lambda vector: (int.from_bytes(vector, "big"), len(vector)))
        self._first, self._last = vectors
        self.local_chunks = local_chunks
        self.peer_chunks = peer_chunks
        # RFC 5061, 4.1.1: "This chunk MUST be sent in an authenticated way", whether the peer lists it or not.
        self._signed_types = peer_chunks | {ASCONF, ASCONF_ACK}
        self.hmac_id = hmac_id
        self._digest, length = _DIGESTS[hmac_id]
        self.overhead = AUTH_HEADER_LENGTH + length
        self.peer_key = 0

    @property
    def reserve(self) -> int:
        """Bytes to keep free in every packet, if the chunks that fill packets are signed."""
        return self.overhead if self.peer_chunks & _FILLING else 0

    def signs(self, chunk_type: int) -> bool:
        """Return whether this chunk type is signed: the peer requires it, or RFC 5061 does."""
        return chunk_type in self._signed_types

    def sign(self, chunks: Sequence[bytes], key_id: int) -> bytes:
        """Return the AUTH chunk to put before these chunks."""
        zeros = bytes(_DIGESTS[self.hmac_id][1])
        covered = AuthChunk(key_id, self.hmac_id, zeros).serialize() + b"".join(chunks)
        digest = hmac.digest(self._association_key(key_id), covered, self._digest)
        return AuthChunk(key_id, self.hmac_id, digest).serialize()

    def _association_key(self, key_id: int) -> bytes:
        return self._keys.keys.get(key_id, b"") + self._first + self._last

    @property
    def active_key(self) -> int:
        """The key that chunks other than messages are signed with."""
        return self._keys.active

    def is_authentic(self, auth: AuthChunk) -> bool:
        """Return whether an AUTH chunk and the chunks behind it were signed with a key we have."""
        if auth.key_id not in self._keys.keys or auth.hmac_id not in _DIGESTS:
            return False
        digest = hmac.digest(self._association_key(auth.key_id), auth.covered, _DIGESTS[auth.hmac_id][0])
        return hmac.compare_digest(digest, auth.hmac)

    def admit(self, chunks: Sequence[Chunk]) -> list[Chunk]:
        """Return the chunks of a packet that may be processed.

        RFC 4895, 6.3: "It MUST silently discard these chunks if they are not placed after an AUTH chunk in the packet."
        "If the field does not match the result of the calculation, all the chunks following the AUTH chunk MUST be
        silently discarded."
        """
        admitted: list[Chunk] = []
        authentic = False
        for chunk in chunks:
            if isinstance(chunk, AuthChunk):
                if authentic or not self.is_authentic(chunk):
                    break
                authentic = True
                self.peer_key = chunk.key_id
            elif authentic or chunk.type not in self.local_chunks:
                admitted.append(chunk)
        return admitted


def authentication_parameters(local_random: bytes, chunk_types: Sequence[int]) -> list[Parameter]:
    """Return the parameters that announce authentication."""
    parameters: list[Parameter] = [Random(local_random)]
    if chunk_types:
        parameters.append(ChunkList(tuple(chunk_types)))
    parameters.append(RequestedHmacAlgorithms(HMAC_IDENTIFIERS))
    return parameters


def key_vector(parameters: Sequence[Parameter]) -> bytes:
    """Return the part of the key that one side contributes.

    RFC 4895, 6.1: "These parameters include the parameter type, parameter length, and the parameter value, but padding
    is omitted".
    """
    vector = b""
    for kind in (Random, ChunkList, RequestedHmacAlgorithms):
        for parameter in parameters:
            if isinstance(parameter, kind):
                value = parameter.value_bytes()
                vector += parameter.serialize()[: 4 + len(value)]
                break
    return vector


def make_authenticator(
    keys: KeyRing, local_random: bytes, local_chunks: Sequence[int], peer_vector: bytes
) -> Authenticator:
    """Return the authenticator of an association in which both sides announced authentication.

    Args:
        keys: the shared keys.
        local_random: our Random Number.
        local_chunks: the chunk types we listed.
        peer_vector: the key vector of the peer.
    """
    peer = _read_vector(peer_vector)
    return Authenticator(
        keys,
        key_vector(authentication_parameters(local_random, local_chunks)),
        peer_vector,
        frozenset(local_chunks),
        listed_chunks(peer),
        chosen_algorithm(peer),
    )


def _read_vector(vector: bytes) -> list[Parameter]:
    """Return the parameters in a key vector that is ours or was checked before."""
    parameters: list[Parameter] = []
    start = 0
    while start < len(vector):
        length = int.from_bytes(vector[start + 2 : start + 4], "big")
        parameters.extend(parse_parameters_untrusted(vector[start : start + length], 0, length))
        start += length
    return parameters


def refuse_authentication(parameters: Sequence[Parameter], required: Sequence[int]) -> ErrorCause | None:
    """Return why the association must be refused for the peer's authentication parameters, or None.

    Args:
        parameters: the parameters of its INIT or INIT ACK.
        required: the chunk types that our application requires to be authenticated.
    """
    number = random_number(parameters)
    if number is None or not chosen_algorithm(parameters):
        # All the peer's chunks of the required types would be discarded, so the association would be useless.
        return causes.missing_mandatory_parameter([RANDOM, HMAC_ALGO]) if required else None
    if len(number) != RANDOM_LENGTH:
        # RFC 4895, 6.1: "If the Random Number is not 32 bytes, the association MUST be aborted. The ABORT chunk SHOULD
        # contain the error cause 'Protocol Violation'."
        return causes.protocol_violation("the Random Number is not 32 bytes long")
    if len(key_vector(parameters)) > MAX_KEY_VECTOR:
        return causes.protocol_violation("the parameters for authentication are too long")
    return None


def chosen_algorithm(parameters: Sequence[Parameter]) -> int:
    """Return the HMAC Identifier to sign with, 0 when the peer announces none that we support.

    RFC 4895, 6.1: "The receiver of an HMAC-ALGO parameter SHOULD use the first listed algorithm it supports."
    """
    for parameter in parameters:
        if isinstance(parameter, RequestedHmacAlgorithms):
            return next((identifier for identifier in parameter.identifiers if identifier in _DIGESTS), 0)
    return 0


def listed_chunks(parameters: Sequence[Parameter]) -> frozenset[int]:
    """Return the chunk types that a peer accepts only when they are authenticated.

    RFC 4895, 3.2: "if a CHUNKS parameter is received then the types for INIT, INIT-ACK, SHUTDOWN-COMPLETE, and AUTH
    chunks MUST be ignored."
    """
    for parameter in parameters:
        if isinstance(parameter, ChunkList):
            return frozenset(parameter.chunk_types) - NEVER_LISTED
    return frozenset()


def random_number(parameters: Sequence[Parameter]) -> bytes | None:
    """Return the peer's Random Number, None when it does not announce authentication."""
    for parameter in parameters:
        if isinstance(parameter, Random):
            return parameter.number
    return None
