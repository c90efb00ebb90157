"""Words of an offer that an answer repeats: nothing in them looks like the end of a line to any parser."""

from __future__ import annotations

import pytest

from datachan.sdp import SdpError, parse_description_untrusted
from tests.unit.test_sdp_description import OFFER

SEPARATORS = ["\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\r", "\0", "\t"]


@pytest.mark.parametrize("separator", SEPARATORS)
@pytest.mark.parametrize(
    ("line", "changed"),
    [
        ("a=mid:0", "a=mid:0{}a=candidate:1"),
        ("m=application 9 UDP/DTLS/SCTP webrtc-datachannel", "m=audio 9 UDP/TLS{}a=x webrtc-datachannel"),
        ("m=application 9 UDP/DTLS/SCTP webrtc-datachannel", "m=audio{}a=x 9 UDP/TLS 0"),
        ("m=application 9 UDP/DTLS/SCTP webrtc-datachannel", "m=audio 9 UDP/TLS 0{}a=x"),
    ],
)
def test_words_that_are_no_tokens_are_refused(separator: str, line: str, changed: str) -> None:
    assert line in OFFER
    with pytest.raises(SdpError):
        parse_description_untrusted(OFFER.replace(line, changed.format(separator)))
