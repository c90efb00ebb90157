"""The translation of the engine's events into the notifications of RFC 6458. It decides nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from datachan.sctp import events as engine

from . import notifications as values
from .ancillary import PeerAddress
from .constants import AddrState, AssocResetFlag, AssocState, AuthIndication, StreamChangeFlag, StreamResetFlag

_ADDR_STATES: Final = {
    engine.PathStatus.AVAILABLE: AddrState.SCTP_ADDR_AVAILABLE,
    engine.PathStatus.UNREACHABLE: AddrState.SCTP_ADDR_UNREACHABLE,
    engine.PathStatus.REMOVED: AddrState.SCTP_ADDR_REMOVED,
    engine.PathStatus.ADDED: AddrState.SCTP_ADDR_ADDED,
    engine.PathStatus.MADE_PRIMARY: AddrState.SCTP_ADDR_MADE_PRIM,
    engine.PathStatus.CONFIRMED: AddrState.SCTP_ADDR_CONFIRMED,
    engine.PathStatus.POTENTIALLY_FAILED: AddrState.SCTP_ADDR_POTENTIALLY_FAILED,
}

_AUTH_INDICATIONS: Final = {
    engine.AuthenticationIndication.NEW_KEY: AuthIndication.SCTP_AUTH_NEW_KEY,
    engine.AuthenticationIndication.NO_AUTH: AuthIndication.SCTP_AUTH_NO_AUTH,
    engine.AuthenticationIndication.FREE_KEY: AuthIndication.SCTP_AUTH_FREE_KEY,
}


def notifications_for(assoc_id: int, peer: PeerAddress, event: engine.Event) -> Iterator[values.Notification]:
    """Yield the notifications for an event of an association, except those of its end and of failed messages.

    Args:
        assoc_id: the association.
        peer: the peer's (host, SCTP port).
        event: the engine's event.
    """
    if isinstance(event, engine.AssociationEstablished | engine.AssociationRestarted):
        restarted = isinstance(event, engine.AssociationRestarted)
        state = AssocState.SCTP_RESTART if restarted else AssocState.SCTP_COMM_UP
        yield values.AssocChange(state, 0, event.outbound_streams, event.inbound_streams, assoc_id)
    elif isinstance(event, engine.ShutdownReceived):
        yield values.ShutdownEvent(assoc_id)
    elif isinstance(event, engine.SenderDry):
        yield values.SenderDryEvent(assoc_id)
    elif isinstance(event, engine.PathStatusChanged):
        host = peer[0] if event.address is None else event.address[0]
        yield values.PaddrChange((host, peer[1]), _ADDR_STATES[event.status], 0, assoc_id)
    elif isinstance(event, engine.AuthenticationChanged):
        yield values.AuthenticationEvent(event.key_id, _AUTH_INDICATIONS[event.indication], assoc_id)
    elif isinstance(event, engine.AdaptationIndicated):
        yield values.AdaptationEvent(event.code, assoc_id)
    elif isinstance(event, engine.RemoteError):
        if event.by_peer:
            yield values.RemoteErrorEvent(event.cause_code, event.description, assoc_id)
    else:
        yield from _reconfiguration(assoc_id, event)


def _reconfiguration(assoc_id: int, event: engine.Event) -> Iterator[values.Notification]:
    """Yield the notifications of RFC 6525, section 6.1."""
    if isinstance(event, engine.IncomingStreamsReset):
        yield values.StreamResetEvent(StreamResetFlag.SCTP_STREAM_RESET_INCOMING_SSN, event.stream_ids, assoc_id)
    elif isinstance(event, engine.OutgoingStreamsReset):
        yield values.StreamResetEvent(StreamResetFlag.SCTP_STREAM_RESET_OUTGOING_SSN, event.stream_ids, assoc_id)
    elif isinstance(event, engine.StreamResetFailed):
        flags = StreamResetFlag.SCTP_STREAM_RESET_OUTGOING_SSN | StreamResetFlag.SCTP_STREAM_RESET_DENIED
        yield values.StreamResetEvent(flags, event.stream_ids, assoc_id)
    elif isinstance(event, engine.AssociationReset):
        yield values.AssocResetEvent(AssocResetFlag(0), event.local_tsn, event.peer_tsn, assoc_id)
    elif isinstance(event, engine.StreamsAdded):
        yield values.StreamChangeEvent(StreamChangeFlag(0), event.inbound_streams, event.outbound_streams, assoc_id)
    elif isinstance(event, engine.ReconfigurationFailed):
        if event.request is engine.ReconfigurationKind.TSN_RESET:
            yield values.AssocResetEvent(AssocResetFlag.SCTP_ASSOC_RESET_DENIED, 0, 0, assoc_id)
        elif event.request is engine.ReconfigurationKind.INCOMING_RESET:
            flags = StreamResetFlag.SCTP_STREAM_RESET_INCOMING_SSN | StreamResetFlag.SCTP_STREAM_RESET_DENIED
            yield values.StreamResetEvent(flags, (), assoc_id)
        else:
            yield values.StreamChangeEvent(StreamChangeFlag.SCTP_STREAM_CHANGE_DENIED, 0, 0, assoc_id)
