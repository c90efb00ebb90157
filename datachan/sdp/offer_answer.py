"""Offers and answers as we create them (RFC 3264): their sections, which are rejected, and the DTLS role."""

from __future__ import annotations

import base64
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from .candidate import IceCandidate, format_candidate
from .description import DATA_FORMAT, Section, SessionDescription, TransportParameters
from .errors import SdpError

# RFC 8840, 4.1.1 and 4.1.3: the port on the m= line while no candidate is known.
_DISCARD_PORT: Final = 9
# RFC 8839, 4.2.1.2: "Prior to nomination, the "c=" line associated with an "m=" section contains the connection address
# of the default candidate". The default candidate should be reachable from most peers: a relayed one first.
_DEFAULT_ORDER: Final = {"relay": 0, "srflx": 1, "prflx": 2, "host": 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalData:
    """Our side of the data section.

    Attributes:
        transport: our credentials and fingerprints; the negotiation replaces `setup`.
        sctp_port: our SCTP port.
        max_message_size: the longest message we accept, in bytes; 0 for no limit.
        sctp_init: our INIT chunk for peers that support SNAP (draft-hancke-tsvwg-snap), or None.
    """

    transport: TransportParameters
    sctp_port: int = 5000
    max_message_size: int
    sctp_init: bytes | None = None


def create_offer(
    local: LocalData | None, previous: SessionDescription | None, *, session_id: int, session_version: int
) -> SessionDescription:
    """Return an offer with a data section, or without one when `local` is None.

    Args:
        local: our side of the data section.
        previous: the latest description, negotiated or pending. Its sections keep their places and mids
            (RFC 8829, section 5.2.2).
        session_id: the same number for the life of the connection.
        session_version: a number that grows with every description.
    """
    sections = [] if previous is None else [_refused(section) for section in previous.sections]
    data_index = None if previous is None else previous.data_index
    if local is None:
        data_index = None
    elif previous is None or data_index is None:
        # RFC 8829, 5.2.2: a rejected section is recycled "as if the "m=" section were being added to the session
        # description (including a new MID value)".
        kinds = [section.kind for section in sections]
        data_index = kinds.index("application") if "application" in kinds else len(sections)
        sections[data_index : data_index + 1] = [_data_section(local, "actpass", mid=_unused_mid(sections))]
    else:
        old = previous.sections[data_index]
        # RFC 8842, 5.5: subsequent offers have "actpass", too.
        sections[data_index] = _data_section(local, "actpass", mid=old.mid, like=old)
    return SessionDescription(
        session_id=session_id,
        session_version=session_version,
        sections=tuple(sections),
        bundle_groups=_groups(sections, data_index),
        data_index=data_index,
    )


def create_answer(
    offer: SessionDescription, local: LocalData | None, *, setup: str, session_id: int, session_version: int
) -> SessionDescription:
    """Return the answer to an offer: the data section accepted, every other section rejected.

    Args:
        offer: the peer's offer.
        local: our side of the data section; None rejects it, too.
        setup: our DTLS role, "active" or "passive"; see `answer_setup`.
        session_id: the same number for the life of the connection.
        session_version: a number that grows with every description.
    """
    # RFC 3264, 6: "the answer MUST contain exactly the same number of "m=" lines as the offer."
    sections = [_refused(section) for section in offer.sections]
    data_index = offer.data_index if local is not None else None
    if local is not None and data_index is not None:
        theirs = offer.sections[data_index]
        sections[data_index] = _answered(theirs, _data_section(local, setup, mid=theirs.mid, like=theirs))
    # RFC 9143, 7.3: "The answerer is only allowed to include a BUNDLE group in an initial BUNDLE answer if the
    # offerer requested the BUNDLE group to be created in the corresponding initial BUNDLE offer". If we reject the
    # tagged section (audio or video), the data section becomes the tagged one (7.3.1). With a shared transport
    # (max-bundle), RFC 8829, 5.3.1 requires us to reject the data section as well. Firefox accepts it nevertheless;
    # Chromium rejects the answer with an error.
    mid = None if data_index is None else sections[data_index].mid
    bundled = any(mid in group for group in offer.bundle_groups)
    return SessionDescription(
        session_id=session_id,
        session_version=session_version,
        sections=tuple(sections),
        bundle_groups=_groups(sections, data_index) if bundled else (),
        data_index=data_index,
    )


def answer_setup(offered: str, current: str | None = None) -> str:
    """Return the a=setup of our answer, "active" or "passive".

    Args:
        offered: the a=setup of the offer.
        current: our current DTLS role; an established DTLS association keeps it.
    """
    if offered == "active":
        return "passive"
    if offered == "passive":
        return "active"
    # RFC 8829, 5.3.1: "When the offer contains the "actpass" value, as will always be the case with JSEP endpoints,
    # the answerer SHOULD use the "active" role."
    return current or "active"


def check_answer(offer: SessionDescription, answer: SessionDescription) -> None:
    """Check that an answer fits its offer.

    Raises:
        SdpError: the sections differ in number, kind or mid, or the DTLS roles are impossible.
    """
    if len(offer.sections) != len(answer.sections):
        raise SdpError(f"the answer has {len(answer.sections)} sections, the offer {len(offer.sections)}")
    for index, (ours, theirs) in enumerate(zip(offer.sections, answer.sections, strict=True)):
        if ours.kind != theirs.kind:
            raise SdpError(f"section {index} of the answer is {theirs.kind}, of the offer {ours.kind}")
        # RFC 8829, 5.3.1: "The MID value MUST match that specified in the offer." Old peers answer without a mid.
        if theirs.mid is not None and ours.mid != theirs.mid:
            raise SdpError(f"section {index} of the answer has a=mid:{theirs.mid}, the offer a=mid:{ours.mid}")
    if answer.data_index is not None and answer.data_index != offer.data_index:
        raise SdpError("the answer accepts a data channel section that was not offered")
    ours_data, theirs_data = offer.data, answer.data
    if ours_data is None or theirs_data is None or theirs_data.transport is None or ours_data.transport is None:
        return
    if ours_data.sctp_init and theirs_data.sctp_init == b"":
        # draft-hancke-tsvwg-snap: "If the series of bytes is not a valid SCTP INIT chunk this results in an error." The
        # peer considers the association established; an INIT packet from us would restart it.
        raise SdpError("a=sctp-init in the answer holds no usable SCTP INIT chunk")
    setup, offered = theirs_data.transport.setup, ours_data.transport.setup
    if setup == "actpass":
        # RFC 8829, 5.3.1: "The role value in the answer MUST be "active" or "passive"."
        raise SdpError("a=setup:actpass is for offers; an answer must choose active or passive")
    if setup == offered:
        raise SdpError(f"both sides have a=setup:{setup}")


def with_candidates(
    description: SessionDescription, candidates: Sequence[IceCandidate], *, complete: bool
) -> SessionDescription:
    """Return the description with these candidates in its data section, and a default address from among them."""
    if description.data_index is None or description.data is None:
        return description
    data = replace(
        description.data,
        candidates=tuple(candidates),
        end_of_candidates=complete,
        port=_default_address(candidates)[1],
    )
    sections = list(description.sections)
    sections[description.data_index] = data
    return replace(description, sections=tuple(sections))


def format_description(description: SessionDescription) -> str:
    """Return the text of a description, with CR LF after each line."""
    lines = [
        "v=0",
        f"o=- {description.session_id} {description.session_version} IN IP4 0.0.0.0",
        "s=-",
        "t=0 0",
        *(f"a=group:BUNDLE {' '.join(group)}".rstrip() for group in description.bundle_groups),
    ]
    data = description.data
    if data is not None and data.transport is not None:
        # RFC 8839, 5.6: the attribute may be at session level.
        options = [name for name in ("trickle", "ice2", "renomination", "sped") if getattr(data.transport, name)]
        lines += [f"a=ice-options:{' '.join(options)}"] if options else []
        lines += ["a=ice-lite"] if data.transport.ice_lite else []
    for section in description.sections:
        lines += _section_lines(section)
    return "".join(line + "\r\n" for line in lines)


def _section_lines(section: Section) -> list[str]:
    transport = section.transport
    address, _ = _default_address(section.candidates)
    version = "IP6" if ":" in address else "IP4"
    lines = [f"m={section.kind} {section.port} {section.protocol} {' '.join(section.formats)}"]
    lines.append(f"c=IN {version} {address}")
    if section.mid is not None:
        lines.append(f"a=mid:{section.mid}")
    if transport is None or section.rejected:
        return [*lines, "a=inactive"]
    lines += [f"a=ice-ufrag:{transport.ice_ufrag}", f"a=ice-pwd:{transport.ice_pwd}"]
    lines += [f"a=fingerprint:{fingerprint}" for fingerprint in transport.fingerprints]
    lines.append(f"a=setup:{transport.setup}")
    if transport.tls_id is not None:
        lines.append(f"a=tls-id:{transport.tls_id}")
    if section.port_in_sctpmap:
        lines.append(f"a=sctpmap:{section.sctp_port} {DATA_FORMAT} 65535")
    else:
        lines.append(f"a=sctp-port:{section.sctp_port}")
    lines.append(f"a=max-message-size:{section.max_message_size}")
    if section.sctp_init:
        lines.append(f"a=sctp-init:{base64.b64encode(section.sctp_init).decode()}")
    lines += [f"a={format_candidate(candidate)}" for candidate in section.candidates]
    if section.rtcp_mux:
        lines.append("a=rtcp-mux")
    if section.end_of_candidates:
        lines.append("a=end-of-candidates")
    return lines


def _data_section(local: LocalData, setup: str, *, mid: str | None, like: Section | None = None) -> Section:
    """Return our data section, in the form that the section `like` has."""
    formats = (DATA_FORMAT,) if like is None else like.formats
    if DATA_FORMAT not in formats:
        formats = (str(local.sctp_port),)
    return Section(
        kind="application",
        port=_DISCARD_PORT,
        protocol="UDP/DTLS/SCTP" if like is None else like.protocol,
        formats=formats,
        mid=mid,
        transport=replace(local.transport, setup=setup),
        sctp_port=local.sctp_port,
        max_message_size=local.max_message_size,
        sctp_init=local.sctp_init if DATA_FORMAT in formats else None,
        port_in_sctpmap=like is not None and like.port_in_sctpmap,
    )


def _answered(theirs: Section, answer: Section) -> Section:
    """Return our data section without attributes that need one in the offer, and with those the offer requires."""
    if theirs.transport is not None and answer.transport is not None:
        # RFC 8829, 5.3.1: "the "a=ice-options" line, with the "trickle" option as specified in [RFC8840], Section
        # 4.1.3 and the "ice2" option as specified in [RFC8445], Section 10, is only included if such an option was
        # present in the offer."
        options = replace(
            answer.transport,
            trickle=theirs.transport.trickle,
            ice2=theirs.transport.ice2,
            renomination=theirs.transport.renomination,
            sped=answer.transport.sped and theirs.transport.sped,
        )
        answer = replace(answer, transport=options)
    if theirs.transport is None or theirs.transport.tls_id is None:
        # RFC 8842, 5.3: "If the answerer receives an offer that does not contain an SDP "tls-id" attribute, the
        # answerer MUST NOT insert a "tls-id" attribute in the answer."
        answer = _without_tls_id(answer)
    if not theirs.sctp_init:
        # draft-hancke-tsvwg-snap: "An endpoint not supporting the extension described in this document MUST NOT
        # include a "a=sctp-init" attribute in its answer." The same holds when the offer has no valid INIT: the
        # association is then set up by the four-way handshake.
        answer = replace(answer, sctp_init=None)
    # RFC 8829, 5.3.1: "if media "m=" sections are bundled into a data "m=" section, then certain TRANSPORT and
    # IDENTICAL attributes may also appear in the data "m=" section". Firefox requires it with max-bundle.
    return replace(answer, rtcp_mux=theirs.rtcp_mux)


def _refused(section: Section) -> Section:
    return Section(kind=section.kind, port=0, protocol=section.protocol, formats=section.formats, mid=section.mid)


def _without_tls_id(section: Section) -> Section:
    if section.transport is None:
        return section
    return replace(section, transport=replace(section.transport, tls_id=None))


def _groups(sections: Sequence[Section], data_index: int | None) -> tuple[tuple[str, ...], ...]:
    mid = None if data_index is None else sections[data_index].mid
    return () if mid is None else ((mid,),)


def _unused_mid(sections: Sequence[Section]) -> str:
    taken = {section.mid for section in sections}
    return next(str(number) for number in range(len(sections) + 1) if str(number) not in taken)


def _default_address(candidates: Sequence[IceCandidate]) -> tuple[str, int]:
    usable = [candidate for candidate in candidates if candidate.usable and _is_ip(candidate.address)]
    if not usable:
        return "0.0.0.0", _DISCARD_PORT
    best = min(usable, key=lambda c: (_DEFAULT_ORDER[c.type], ":" in c.address, -c.priority))
    return best.address, best.port


def _is_ip(address: str) -> bool:
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True
