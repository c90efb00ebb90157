"""What a new description changes: `datachan.peer.transport_changes`."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from datachan.dtls.certificate import Certificate, Fingerprint
from datachan.peer.transport_changes import TransportChanges, transport_changes
from datachan.sdp import Section, TransportParameters

ONE, OTHER = (Certificate.generate(datetime.now(UTC)) for _ in range(2))
SHA_256, SHA_512 = ONE.fingerprint("sha-256"), ONE.fingerprint("sha-512")
UNKNOWN = Fingerprint("md5", "AB:CD")
TRANSPORT = TransportParameters(
    ice_ufrag="abcd", ice_pwd="p" * 22, fingerprints=(SHA_256,), setup="actpass", tls_id="first"
)
BEFORE = Section(
    kind="application", port=9, protocol="UDP/DTLS/SCTP", formats=("webrtc-datachannel",), transport=TRANSPORT
)


def changed(**members: Any) -> Section:
    return replace(BEFORE, transport=replace(TRANSPORT, **members))


@pytest.mark.parametrize(
    "fingerprints",
    [(SHA_256,), (SHA_256, SHA_512), (SHA_512, SHA_256), (OTHER.fingerprint("sha-256"), SHA_256), (UNKNOWN, SHA_256)],
)
def test_fingerprints_in_another_order_and_more_or_less_are_the_same_set(
    fingerprints: tuple[Fingerprint, ...],
) -> None:
    assert transport_changes(BEFORE, changed(fingerprints=fingerprints), None) == TransportChanges()
    assert transport_changes(changed(fingerprints=fingerprints), BEFORE, None) == TransportChanges()


def test_another_hash_of_the_authenticated_certificate_is_no_change() -> None:
    after = changed(fingerprints=(UNKNOWN, SHA_512))
    assert transport_changes(BEFORE, after, ONE.der) == TransportChanges()
    assert transport_changes(BEFORE, after, OTHER.der) == TransportChanges(dtls=True, sctp=True)
    assert transport_changes(BEFORE, after, None) == TransportChanges(dtls=True, sctp=True)


def test_another_certificate_or_tls_id_is_a_new_dtls_association() -> None:
    new = TransportChanges(dtls=True, sctp=True)
    assert transport_changes(BEFORE, changed(fingerprints=(OTHER.fingerprint("sha-256"),)), ONE.der) == new
    assert transport_changes(BEFORE, changed(tls_id="second"), ONE.der) == new
    assert transport_changes(BEFORE, changed(tls_id=None), ONE.der) == TransportChanges()
    assert transport_changes(changed(tls_id=None), BEFORE, ONE.der) == TransportChanges()


@pytest.mark.parametrize("members", [{"ice_ufrag": "efgh"}, {"ice_pwd": "q" * 22}])
def test_other_credentials_restart_ice(members: dict[str, str]) -> None:
    assert transport_changes(BEFORE, changed(**members), ONE.der) == TransportChanges(ice=True)


def test_another_port_is_a_new_sctp_association() -> None:
    assert transport_changes(BEFORE, replace(BEFORE, sctp_port=6000), ONE.der) == TransportChanges(sctp=True)


def test_the_first_description_changes_nothing() -> None:
    assert transport_changes(None, BEFORE, None) == TransportChanges()
