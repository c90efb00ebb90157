"""An offer or answer as values: the data channel section in full, of the other sections only their m= line."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from datachan.dtls.certificate import Fingerprint
from datachan.dtls.errors import BadFingerprint
from datachan.sctp import BadPacket, read_init_untrusted

from .candidate import IceCandidate, parse_candidate_untrusted
from .errors import SdpError
from .sdp_lines import Attribute, MediaText, SessionText, parse_number, split_untrusted

MAX_CANDIDATES: Final = 128
# RFC 8841, 6.1: "If the SDP "max-message-size" attribute is not present, the default value is 64K."
DEFAULT_MAX_MESSAGE_SIZE: Final = 65536
DATA_PROTOCOLS: Final = ("UDP/DTLS/SCTP", "TCP/DTLS/SCTP", "DTLS/SCTP")
DATA_FORMAT: Final = "webrtc-datachannel"
SETUP_VALUES: Final = ("actpass", "active", "passive")
# RFC 8839, 5.1: "ice-char = ALPHA / DIGIT / "+" / "/""
_CREDENTIAL: Final = re.compile(r"[A-Za-z0-9+/]{4,256}", re.ASCII)

# RFC 4566, 9: token-char.
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.0-9A-Z^_`a-z{|}~]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportParameters:
    """The ICE and DTLS parameters of one side.

    Attributes:
        ice_ufrag: the ICE username fragment.
        ice_pwd: the ICE password.
        fingerprints: one or several fingerprints of the side's certificates.
        setup: "actpass", "active" or "passive" (RFC 8842).
        tls_id: the identifier of the DTLS association (RFC 8842, section 4), or None.
        ice_lite: whether this side is an ICE-lite agent, which only answers checks.
        trickle: whether more candidates may follow (RFC 8840).
        ice2: whether this side follows RFC 8445 rather than RFC 5245.
        renomination: whether the controlled side follows the latest nomination (draft-thatcher-ice-renomination).
        sped: whether this side's checks carry the DTLS handshake (draft-hancke-webrtc-sped).
    """

    ice_ufrag: str
    ice_pwd: str
    fingerprints: tuple[Fingerprint, ...]
    setup: str
    tls_id: str | None = None
    ice_lite: bool = False
    trickle: bool = True
    ice2: bool = True
    renomination: bool = True
    sped: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One m= section.

    Attributes:
        kind: "application", "audio", "video" or anything else.
        port: the port on the m= line.
        protocol: the protocol on the m= line.
        formats: the formats on the m= line.
        mid: the identification tag that BUNDLE and candidates use, or None.
        bundle_only: whether port 0 means that the section exists only inside its BUNDLE group (RFC 9143, section 6).
        transport: the ICE and DTLS parameters; None in a section without data channels.
        sctp_port: the SCTP port of this side.
        max_message_size: the longest message this side accepts, in bytes; 0 for no limit.
        candidates: the candidates in the description.
        end_of_candidates: True when no more candidates will follow (RFC 8840, section 8.2).
        sctp_init: the INIT chunk of a=sctp-init (draft-hancke-tsvwg-snap); empty when the attribute holds no usable
            INIT, None without the attribute.
        rtcp_mux: whether the transport is offered for media, too, with a=rtcp-mux.
        port_in_sctpmap: whether the SCTP port is in a=sctpmap or the m= line, as in drafts of RFC 8841.
        skipped_candidates: the reason for each candidate line that was skipped because it cannot be read.
    """

    kind: str
    port: int
    protocol: str
    formats: tuple[str, ...]
    mid: str | None = None
    bundle_only: bool = False
    transport: TransportParameters | None = None
    sctp_port: int = 5000
    max_message_size: int = DEFAULT_MAX_MESSAGE_SIZE
    candidates: tuple[IceCandidate, ...] = ()
    end_of_candidates: bool = False
    sctp_init: bytes | None = None
    rtcp_mux: bool = False
    port_in_sctpmap: bool = False
    skipped_candidates: tuple[str, ...] = ()

    @property
    def rejected(self) -> bool:
        """Whether the section is rejected (RFC 3264, section 6)."""
        return self.port == 0 and not self.bundle_only


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionDescription:
    """An offer or an answer.

    Attributes:
        session_id: the session's identifier from the o= line.
        session_version: the version of the session from the o= line.
        sections: the sections in the order of their m= lines.
        bundle_groups: the mids of each BUNDLE group.
        data_index: the index of the section with the data channels, or None.
    """

    session_id: int = 0
    session_version: int = 0
    sections: tuple[Section, ...] = ()
    bundle_groups: tuple[tuple[str, ...], ...] = ()
    data_index: int | None = None

    @property
    def data(self) -> Section | None:
        """The section with the data channels, or None."""
        return None if self.data_index is None else self.sections[self.data_index]


def parse_description_untrusted(text: str) -> SessionDescription:
    """Read an offer or an answer.

    The first usable ``m=application`` section becomes the data section. Of all other sections, only what an answer has
    to repeat is kept.

    Raises:
        SdpError: the text is malformed, or its data section misses a required attribute.
    """
    session = split_untrusted(text)
    groups = _bundle_groups(session)
    sections = [_plain_section(media) for media in session.media]
    _check_mids(sections, session)
    session_id, version = _origin(session.origin)
    data_index = next((i for i, section in enumerate(sections) if _carries_data(section)), None)
    if data_index is not None:
        sections[data_index] = _data_section(session, sections, groups, data_index)
        # RFC 8841, 10.4: "If the SDP "sctp-port" attribute in the answer contains an attribute value of zero, the
        # offerer MUST NOT establish an SCTP association."
        if sections[data_index].sctp_port == 0:
            data_index = None
    return SessionDescription(
        session_id=session_id,
        session_version=version,
        sections=tuple(sections),
        bundle_groups=groups,
        data_index=data_index,
    )


def _carries_data(section: Section) -> bool:
    if section.kind != "application" or section.rejected or section.protocol.upper() not in DATA_PROTOCOLS:
        return False
    # Drafts of RFC 8841 had the SCTP port in the place of the format, and "DTLS/SCTP" as the protocol. All combinations
    # have been in use.
    return DATA_FORMAT in section.formats or section.formats[0].isdigit()


def _plain_section(media: MediaText) -> Section:
    # An answer repeats them, so nothing may be in them that a less strict parser takes for the end of a line.
    for word in (media.kind, *media.protocol.split("/"), *media.formats):
        if not _TOKEN.fullmatch(word):
            raise SdpError(f"m= has tokens of RFC 4566, not {word[:60]!r}", media.line)
    return Section(
        kind=media.kind,
        port=media.port,
        protocol=media.protocol,
        formats=media.formats,
        mid=_first(media.attributes, "mid"),
        bundle_only=any(attribute.name == "bundle-only" for attribute in media.attributes),
    )


def _check_mids(sections: Sequence[Section], session: SessionText) -> None:
    seen: set[str] = set()
    for section, media in zip(sections, session.media, strict=True):
        if section.mid is None:
            continue
        # RFC 5888, 4: "The identification-tag MUST be unique within an SDP session description."
        if section.mid in seen or len(section.mid) > 255 or not _TOKEN.fullmatch(section.mid):
            raise SdpError(f"a=mid must be one word that no other section has, not {section.mid[:60]!r}", media.line)
        seen.add(section.mid)


def _data_section(
    session: SessionText, sections: Sequence[Section], groups: Sequence[tuple[str, ...]], index: int
) -> Section:
    media, section = session.media[index], sections[index]
    tagged = _tagged_section(session, sections, groups, section.mid)
    # RFC 9143, 7.1.3: "The BUNDLE attributes contained in the tagged "m=" section will apply to each bundled "m="
    # section within the BUNDLE group."
    carrier = media if _has(media.attributes, "ice-ufrag") or tagged is None else tagged
    candidates, skipped = _candidates(carrier)
    return Section(
        kind=section.kind,
        port=section.port,
        protocol=section.protocol,
        formats=section.formats,
        mid=section.mid,
        bundle_only=section.bundle_only,
        transport=_transport(carrier, session),
        sctp_port=_sctp_port(media),
        max_message_size=_max_message_size(media),
        candidates=candidates,
        end_of_candidates=_has(carrier.attributes, "end-of-candidates")
        or _has(session.attributes, "end-of-candidates"),
        sctp_init=_sctp_init(media),
        rtcp_mux=tagged is not None and _share_transport(media, tagged) and _has(tagged.attributes, "rtcp-mux"),
        port_in_sctpmap=DATA_FORMAT not in section.formats or not _has(media.attributes, "sctp-port"),
        skipped_candidates=skipped,
    )


def _share_transport(media: MediaText, tagged: MediaText) -> bool:
    own = _first(media.attributes, "ice-ufrag")
    return own is None or own == _first(tagged.attributes, "ice-ufrag")


def _tagged_section(
    session: SessionText, sections: Sequence[Section], groups: Sequence[tuple[str, ...]], mid: str | None
) -> MediaText | None:
    group = next((group for group in groups if mid in group), ())
    wanted = group[0] if group else None
    return next(
        (media for media, section in zip(session.media, sections, strict=True) if wanted and section.mid == wanted),
        None,
    )


def _transport(media: MediaText, session: SessionText) -> TransportParameters:
    # RFC 8829, 5.3.1: "any session-level attributes in the offer that are also valid as media-level attributes are
    # considered to be present in each "m=" section."
    fingerprints = _all(media.attributes, "fingerprint") or _all(session.attributes, "fingerprint")
    if not fingerprints:
        raise SdpError("the data channel section has no a=fingerprint", media.line)
    tls_id = _find(media.attributes, "tls-id") or _find(session.attributes, "tls-id")
    ice_options = {*_ice_options(media), *_ice_options(session)}
    return TransportParameters(
        ice_ufrag=_credential("ice-ufrag", media, session, 4),
        ice_pwd=_credential("ice-pwd", media, session, 22),
        fingerprints=tuple(_fingerprint(attribute) for attribute in fingerprints),
        setup=_setup(media, session),
        tls_id=None if tls_id is None else tls_id.value[:255],
        ice_lite=_has(session.attributes, "ice-lite"),
        trickle="trickle" in ice_options,
        ice2="ice2" in ice_options,
        renomination="renomination" in ice_options,
        sped="sped" in ice_options,
    )


def _ice_options(part: MediaText | SessionText) -> list[str]:
    # RFC 8839, 5.6 separates the options by spaces; libdatachannel writes commas. Several lines add up.
    return " ".join(attribute.value for attribute in _all(part.attributes, "ice-options")).replace(",", " ").split()


def _fingerprint(attribute: Attribute) -> Fingerprint:
    try:
        return Fingerprint.parse(attribute.value)
    except BadFingerprint as error:
        raise SdpError(str(error), attribute.line) from None


def _credential(name: str, media: MediaText, session: SessionText, shortest: int) -> str:
    attribute = _find(media.attributes, name) or _find(session.attributes, name)
    if attribute is None:
        raise SdpError(f"the data channel section has no a={name}", media.line)
    if len(attribute.value) < shortest or not _CREDENTIAL.fullmatch(attribute.value):
        # RFC 8839, 5.4: password = 22*256ice-char, ufrag = 4*256ice-char
        raise SdpError(f"a={name} is {shortest} to 256 letters, digits, + or /", attribute.line)
    return attribute.value


def _setup(media: MediaText, session: SessionText) -> str:
    attribute = _find(media.attributes, "setup") or _find(session.attributes, "setup")
    if attribute is None:
        raise SdpError("the data channel section has no a=setup", media.line)
    value = attribute.value.lower()
    if value == "holdconn":
        raise SdpError("a=setup:holdconn requests no connection, but data channels need one", attribute.line)
    if value not in SETUP_VALUES:
        raise SdpError(f"a=setup is actpass, active or passive, not {value[:30]!r}", attribute.line)
    return value


def _sctp_port(media: MediaText) -> int:
    attribute = _find(media.attributes, "sctp-port")
    if attribute is not None:
        return parse_number(attribute.value, "a=sctp-port", 0, 65535, attribute.line)
    if DATA_FORMAT not in media.formats:
        return parse_number(media.formats[0], "the SCTP port", 1, 65535, media.line)
    for mapping in _all(media.attributes, "sctpmap"):
        return parse_number(mapping.value.partition(" ")[0], "the port in a=sctpmap", 1, 65535, mapping.line)
    # RFC 8841, 5.1: "No default value is defined for the SDP "sctp-port" attribute."
    raise SdpError("the data channel section has no a=sctp-port", media.line)


def _max_message_size(media: MediaText) -> int:
    attribute = _find(media.attributes, "max-message-size")
    if attribute is None:
        return DEFAULT_MAX_MESSAGE_SIZE
    return parse_number(attribute.value, "a=max-message-size", 0, 10**20 - 1, attribute.line)


def _sctp_init(media: MediaText) -> bytes | None:
    attribute = _find(media.attributes, "sctp-init")
    if attribute is None:
        return None
    try:
        init = base64.b64decode(attribute.value, validate=True)
        read_init_untrusted(init)
    except (BadPacket, ValueError):
        return b""
    return init


def _candidates(media: MediaText) -> tuple[tuple[IceCandidate, ...], tuple[str, ...]]:
    """Return the candidates, and the reason for each line that is skipped: one bad candidate costs one path only."""
    found: list[IceCandidate] = []
    skipped: list[str] = []
    for attribute in _all(media.attributes, "candidate"):
        try:
            candidate = parse_candidate_untrusted("candidate:" + attribute.value)
        except SdpError as error:
            if len(skipped) < MAX_CANDIDATES:
                skipped.append(str(SdpError(str(error), attribute.line)))
            continue
        if len(found) < MAX_CANDIDATES:
            found.append(candidate)
    return tuple(found), tuple(skipped)


def _bundle_groups(session: SessionText) -> tuple[tuple[str, ...], ...]:
    groups = (attribute.value.split() for attribute in _all(session.attributes, "group"))
    return tuple(tuple(group[1:]) for group in groups if group and group[0].upper() == "BUNDLE")


def _origin(origin: str) -> tuple[int, int]:
    words = origin.split()
    if len(words) < 6:
        raise SdpError("the description has no complete o= line")
    # The peer's numbers are never compared, so any value is accepted.
    session_id, version = (
        int(word) if word.isascii() and word.isdigit() and len(word) <= 20 else 0 for word in words[1:3]
    )
    return session_id, version


def _all(attributes: Sequence[Attribute], name: str) -> list[Attribute]:
    return [attribute for attribute in attributes if attribute.name == name]


def _find(attributes: Sequence[Attribute], name: str) -> Attribute | None:
    return next((attribute for attribute in attributes if attribute.name == name), None)


def _first(attributes: Sequence[Attribute], name: str) -> str | None:
    found = _find(attributes, name)
    return None if found is None else found.value


def _has(attributes: Sequence[Attribute], name: str) -> bool:
    return _find(attributes, name) is not None
