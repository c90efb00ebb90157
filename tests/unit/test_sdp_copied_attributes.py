"""`datachan.sdp.copied_attributes`: each attribute of ours that a peer may send back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from datachan.dtls.certificate import Fingerprint
from datachan.sctp.options import AssociationOptions
from datachan.sctp.records.init import make_init
from datachan.sdp import (
    LocalData,
    SdpError,
    Section,
    SessionDescription,
    TransportParameters,
    check_answer,
    create_answer,
    create_offer,
    format_description,
    parse_description_untrusted,
    without_copied_attributes,
)
from tests.sim.seeds import entropy

OUR_INIT = make_init(AssociationOptions(), entropy(1))
THEIR_INIT = make_init(AssociationOptions(), entropy(2))
OURS = LocalData(
    transport=TransportParameters(
        ice_ufrag="ours",
        ice_pwd="passwordofourspasswordofours",
        fingerprints=(Fingerprint("sha-256", ":".join(["0A"] * 32)),),
        setup="actpass",
        tls_id="0123456789abcdef0123",
    ),
    max_message_size=1_000_000,
    sctp_init=OUR_INIT,
)
THEIRS = LocalData(
    transport=TransportParameters(
        ice_ufrag="theirs",
        ice_pwd="passwordoftheirspasswordoftheirs",
        fingerprints=(Fingerprint("sha-256", ":".join(["0B"] * 32)),),
        setup="active",
        tls_id="fedcba9876543210fedc",
    ),
    max_message_size=262_144,
    sctp_init=THEIR_INIT,
)
OFFER = create_offer(OURS, None, session_id=7, session_version=1)


def answer_with(*, tls_id: str | None = None, **changes: object) -> SessionDescription:
    """Return the peer's answer as it arrives, with some attributes replaced."""
    transport = replace(THEIRS.transport, tls_id=tls_id or THEIRS.transport.tls_id)
    answer = create_answer(OFFER, replace(THEIRS, transport=transport), setup="active", session_id=8, session_version=1)
    assert answer.data is not None
    changed = replace(answer, sections=(replace(answer.data, **changes),))
    return parse_description_untrusted(format_description(changed))


def read(answer: SessionDescription) -> Section:
    data = without_copied_attributes(answer, [OFFER]).data
    assert data is not None
    return data


def test_an_answer_without_copies_stays_as_it_is() -> None:
    answer = answer_with(end_of_candidates=True, max_message_size=1_000_000)
    assert without_copied_attributes(answer, [OFFER]) == answer


def test_a_copied_sctp_init_does_not_mean_support_for_snap() -> None:
    data = read(answer_with(sctp_init=OUR_INIT))
    assert data.sctp_init is None
    assert data.transport is not None
    assert data.transport.tls_id == THEIRS.transport.tls_id


def test_any_sctp_init_with_our_initiate_tag_is_a_copy() -> None:
    changed = bytearray(OUR_INIT)
    changed[8:12] = (1_000_000).to_bytes(4, "big")  # a_rwnd
    assert read(answer_with(sctp_init=bytes(changed))).sctp_init is None


def test_an_unusable_sctp_init_is_not_a_copy() -> None:
    answer = format_description(answer_with()).replace("a=sctp-init:", "a=sctp-init:!")
    data = read(parse_description_untrusted(answer))
    assert data.sctp_init == b""


def test_a_copied_tls_id_is_ignored() -> None:
    data = read(answer_with(tls_id=OURS.transport.tls_id))
    assert data.transport is not None
    assert data.transport.tls_id is None
    assert data.sctp_init == THEIR_INIT


@pytest.mark.parametrize(
    ("ours", "theirs", "certain"),
    [(1_000_000, 1_000_000, 65_536), (0, 0, 65_536), (10_000, 10_000, 10_000), (1_000_000, 262_144, 262_144)],
)
def test_a_peer_that_copies_accepts_the_default_size_when_it_states_ours(ours: int, theirs: int, certain: int) -> None:
    offer = create_offer(replace(OURS, max_message_size=ours), None, session_id=7, session_version=1)
    answer = answer_with(sctp_init=OUR_INIT, max_message_size=theirs)
    data = without_copied_attributes(answer, [offer]).data
    assert data is not None
    assert data.max_message_size == certain


def test_a_copied_end_of_candidates_is_ignored() -> None:
    assert not read(answer_with(sctp_init=OUR_INIT, end_of_candidates=True)).end_of_candidates


def test_our_own_description_is_refused() -> None:
    with pytest.raises(SdpError, match="it is ours"):
        without_copied_attributes(parse_description_untrusted(format_description(OFFER)), [OFFER])


def test_a_copied_setup_is_refused() -> None:
    text = format_description(answer_with()).replace("a=setup:active", "a=setup:actpass")
    answer = without_copied_attributes(parse_description_untrusted(text), [OFFER])
    with pytest.raises(SdpError, match="actpass is for offers"):
        check_answer(OFFER, answer)


def test_a_shared_certificate_is_accepted() -> None:
    transport = replace(THEIRS.transport, fingerprints=OURS.transport.fingerprints)
    data = read(answer_with(transport=transport))
    assert data.transport is not None
    assert data.transport.fingerprints == OURS.transport.fingerprints


def test_copies_are_recognized_in_a_later_offer_too() -> None:
    ours = create_answer(
        parse_description_untrusted(format_description(create_offer(THEIRS, None, session_id=8, session_version=1))),
        OURS,
        setup="active",
        session_id=7,
        session_version=1,
    )
    again = create_offer(replace(THEIRS, sctp_init=OUR_INIT), None, session_id=8, session_version=2)
    data = without_copied_attributes(parse_description_untrusted(format_description(again)), [ours]).data
    assert data is not None
    assert data.sctp_init is None


def test_a_description_without_data_has_no_copies() -> None:
    empty = create_offer(None, None, session_id=8, session_version=1)
    assert without_copied_attributes(empty, [OFFER]) == empty
