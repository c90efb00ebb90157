"""Long-term credentials: which key and attributes a request gets after a server's challenge (RFC 8489, 9.2)."""

from __future__ import annotations

import hashlib

import pytest

from datachan.ice_agent import stun
from datachan.ice_agent import turn_messages as turn
from datachan.ice_agent.turn_credentials import LongTermCredentials, key_of
from tests.unit.turn_server import Session, TurnServer

REALM = b"example.org"
PASSWORD_ALGORITHM, USERHASH, PASSWORD_ALGORITHMS = 0x001D, 0x001E, 0x8002
MD5, SHA256, UNKNOWN = b"\0\1\0\0", b"\0\2\0\0", b"\0\x7f\0\3abc\0"
PLAIN, ALGORITHMS, ANONYMOUS = b"plain", b"obMatJos2gAAA", b"obMatJos2wAAA"


def challenge(nonce: bytes | None, offered: bytes | None = None) -> stun.Message:
    given = {turn.REALM: REALM, turn.NONCE: nonce, PASSWORD_ALGORITHMS: offered}
    return stun.Message(turn.ALLOCATE + stun.ERROR, bytes(12), {one: it for one, it in given.items() if it is not None})


def signed(credentials: LongTermCredentials) -> stun.Message:
    return stun.parse_untrusted(credentials.sign(stun.Message(turn.ALLOCATE, bytes(12))))


def test_the_first_request_has_no_credentials() -> None:
    assert signed(LongTermCredentials("user", "pass")).attributes == {}


def test_a_server_without_algorithms_gets_md5_and_sha1() -> None:
    credentials = LongTermCredentials("user", "pass")
    assert credentials.accept_challenge_untrusted(challenge(PLAIN))
    message = signed(credentials)
    # RFC 8489, 9.2.2 has the key of user:realm:pass.
    assert key_of("user", b"realm", "pass").hex() == "8493fbc53ba582fb4c044c456bdc40eb"
    assert message.is_signed_with(key_of("user", REALM, "pass"))
    assert PASSWORD_ALGORITHM not in message.attributes
    assert not message.is_signed_by_sha256_with(key_of("user", REALM, "pass"))


@pytest.mark.parametrize(
    ("offered", "algorithm"), [(SHA256 + MD5, SHA256), (MD5 + SHA256, MD5), (UNKNOWN + SHA256, SHA256)]
)
def test_the_first_algorithm_that_is_known_is_used(offered: bytes, algorithm: bytes) -> None:
    credentials = LongTermCredentials("user", "pass")
    assert credentials.accept_challenge_untrusted(challenge(ALGORITHMS, offered))
    message = signed(credentials)
    assert message.attributes[PASSWORD_ALGORITHMS] == offered
    assert message.attributes[PASSWORD_ALGORITHM] == algorithm
    assert stun.MESSAGE_INTEGRITY not in message.attributes
    assert message.is_signed_by_sha256_with(key_of("user", REALM, "pass", sha256=algorithm == SHA256))


def test_the_user_name_is_hidden_if_the_server_asks_for_it() -> None:
    credentials = LongTermCredentials("マトリックス", "TheMatrIX")
    assert credentials.accept_challenge_untrusted(challenge(ANONYMOUS, SHA256))
    message = signed(credentials)
    assert stun.USERNAME not in message.attributes
    # RFC 8489, B.1.
    assert message.attributes[USERHASH].hex().startswith("4a3cf38fef6992bda952c6780417da0f24819415569e60b205c46e41")


@pytest.mark.parametrize(
    ("nonce", "offered"),
    [(ALGORITHMS, None), (ALGORITHMS, UNKNOWN), (ALGORITHMS, b""), (ALGORITHMS, b"\0\2"), (None, SHA256)],
)
def test_no_attempt_follows_a_challenge_that_was_tampered_with_or_cannot_be_met(
    nonce: bytes | None, offered: bytes | None
) -> None:
    assert not LongTermCredentials("user", "pass").accept_challenge_untrusted(challenge(nonce, offered))


@pytest.mark.parametrize("nonce", [b"obMatJos2", b"obMatJos2!!!!", b"obMatJos2AAAA", b"obMatJos2AA"])
def test_a_nonce_without_features_asks_for_nothing(nonce: bytes) -> None:
    assert LongTermCredentials("user", "pass").accept_challenge_untrusted(challenge(nonce))


class Modern(TurnServer):
    """A server that derives keys by SHA-256."""

    def _answer(self, request: stun.Message) -> bytes:
        key = key_of("user", b"test", "secret", sha256=True)
        if not request.is_signed_by_sha256_with(key):
            answer = stun.Message(request.method + stun.ERROR, request.transaction_id)
            answer.attributes |= {stun.ERROR_CODE: stun.error_code(401, "Unauthorized"), turn.REALM: b"test"}
            answer.attributes |= {turn.NONCE: ALGORITHMS + b"1", PASSWORD_ALGORITHMS: SHA256 + MD5}
            return stun.serialize(answer)
        answer = stun.Message(request.method + stun.SUCCESS, request.transaction_id)
        answer.attributes[turn.XOR_RELAYED_ADDRESS] = stun.xor_address(self.relayed, request.transaction_id)
        return stun.serialize(answer, key if not self.forges else b"another key", sha256=True)

    forges = False


def test_a_server_with_sha256_gives_an_allocation() -> None:
    assert [type(event).__name__ for event in Session(Modern()).start()] == ["Allocated"]


def test_an_answer_with_another_key_is_ignored() -> None:
    server = Modern()
    server.forges = True
    assert Session(server).start() == []


def test_what_follows_the_sha256_code_is_ignored() -> None:
    message = stun.Message(stun.BINDING, bytes(12), {stun.PRIORITY: b"1234"})
    data = stun.serialize(message, b"key", sha256=True, fingerprint=False)
    extended = data[:2] + (len(data) - 20 + 8).to_bytes(2, "big") + data[4:] + b"\0\x25\0\4evil"
    parsed = stun.parse_untrusted(extended)
    assert parsed.is_signed_by_sha256_with(b"key")
    assert set(parsed.attributes) == {stun.PRIORITY, stun.MESSAGE_INTEGRITY_SHA256}
    assert hashlib.sha256().digest_size == len(parsed.attributes[stun.MESSAGE_INTEGRITY_SHA256])
