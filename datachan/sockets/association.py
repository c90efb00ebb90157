"""One association as a socket sees it: what happened to it, who waits for it, and the messages that go out.

It knows the binding it lives on, and the inbox of the socket it belongs to; which may change (`peeloff`).
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from datachan.sctp import events as engine
from datachan.sctp.addresses import TransportAddress, normalize
from datachan.sctp.association import Association
from datachan.sctp.capabilities import Capabilities
from datachan.sctp.errors import InvalidState, InvalidStream, SendBufferFull, UnknownKey

from . import notifications as told
from .ancillary import Address, PrInfo, SndInfo
from .constants import AssocState, PartialDeliveryIndication, PrPolicy, SendFailedFlag, SendFlag
from .inbox import Inbox
from .settings import Settings
from .translation import notification_for

if TYPE_CHECKING:
    from .binding import Binding


class Sent:
    """What a message was sent with, to be told if it fails; its data only if that is wanted."""

    __slots__ = ("data", "info")

    def __init__(self, info: SndInfo, data: bytes) -> None:
        self.info = info
        self.data = data


class SocketAssociation:
    """One association of a socket.

    Attributes:
        id: its association id.
        binding: where it lives.
        inbox: where what it receives goes; None when nobody wants it any more.
        settings: what it was told to be like.
        address: the peer's (host, SCTP port).
        established: whether it ever was.
        failure: the error of whoever calls it now, once it is over; None after a graceful end.
        ended: whether it is over.
        streams: (inbound, outbound), once known.
    """

    __slots__ = (
        "_changed",
        "_parts",
        "_senders",
        "address",
        "binding",
        "ended",
        "established",
        "failure",
        "id",
        "inbox",
        "settings",
        "streams",
    )

    def __init__(self, assoc_id: int, binding: Binding, inbox: Inbox | None, settings: Settings, peer: Address) -> None:
        self.id = assoc_id
        self.binding = binding
        self.inbox = inbox
        self.settings = settings
        self.address = peer
        self.established = False
        self.failure: OSError | None = None
        self.ended = False
        self.streams = (0, 0)
        self._senders: deque[asyncio.Future[None]] | None = None
        self._changed: list[asyncio.Future[None]] | None = None
        self._parts: dict[int, int] | None = None  # streams with a message received in part, and its number

    def live(self) -> Association:
        """The engine's association, to call it.

        Raises:
            OSError: it is over.
        """
        return self._not_over(self.binding.call(self.id))

    def _not_over(self, found: Association | None) -> Association:
        if found is None or self.ended:
            raise self.failure or BrokenPipeError(errno.EPIPE, "the association has been closed")
        return found

    def look(self) -> Association | None:
        """The engine's association, to read from it only; None when it is over."""
        return self.binding.endpoint.look(self.id)

    @property
    def agreed(self) -> Capabilities | None:
        """The extensions agreed on with the peer; None before and when it is over."""
        live = self.look()
        return None if live is None else live.extensions

    def transport_address(self, address: Address) -> TransportAddress:
        """An address of the peer with its UDP port.

        Raises:
            OSError: it is not one of the peer's.
        """
        live = self.look()
        for known in () if live is None else live.peer_addresses():
            if known[0] == normalize(address[0]):
                return known
        raise OSError(errno.EINVAL, f"{address[0]} is no address of the peer")

    def change_options(self, changes: dict[str, Any]) -> None:
        """Go on with other protocol parameters."""
        self.settings = replace(self.settings, options=replace(self.settings.options, **changes))
        if not self.ended:
            live = self.live()
            live.change_options(replace(live.options, **changes))

    # -- what happens -----------------------------------------------------------------------------------------

    def handle(self, event: engine.Event) -> None:
        """The engine tells something."""
        if isinstance(event, engine.MessageReceived):
            self._received(event)
            return
        if isinstance(event, engine.PartialDeliveryAborted):
            self._break_off(event.stream_id)
            return
        if isinstance(event, engine.StreamProgress):
            self._let_senders_try()
            return
        if isinstance(event, engine.AssociationRestarted | engine.AssociationReset):
            self._break_off_all()
        if isinstance(event, engine.AssociationEstablished | engine.AssociationRestarted):
            self.established = True
            self.streams = (event.inbound_streams, event.outbound_streams)
            self._wake()
        elif isinstance(event, engine.StreamsAdded):
            self.streams = (event.inbound_streams, event.outbound_streams)
        elif isinstance(event, engine.AssociationClosed):
            self._end(None, self._change(AssocState.SCTP_SHUTDOWN_COMP, 0, ""))
            return
        elif isinstance(event, engine.AssociationLost):
            self._lose(event)
            return
        for notification in notification_for(self, event):
            self.notify(notification)
        if isinstance(event, engine.ShutdownReceived):
            self._let_senders_try()

    def _received(self, event: engine.MessageReceived) -> None:
        if self.inbox is None:
            self.consumed(len(event.data))
            return
        if not event.last:
            if self._parts is None:
                self._parts = {}
            self._parts[event.stream_id] = event.ssn
        elif self._parts:
            self._parts.pop(event.stream_id, None)
        self.inbox.put_message(self, event)

    def _break_off(self, stream_id: int) -> None:
        """The rest of a message that was received in part will not come."""
        number = self._parts.pop(stream_id, None) if self._parts else None
        if number is None or self.inbox is None:
            return
        aborted = PartialDeliveryIndication.SCTP_PARTIAL_DELIVERY_ABORTED
        notification = told.PartialDeliveryEvent(aborted, stream_id, number & 0xFFFF, self.id)
        wanted = told.PartialDeliveryEvent in self.settings.subscribed
        self.inbox.put_broken(self, stream_id, notification if wanted else None)

    def _break_off_all(self) -> None:
        for stream_id in list(self._parts or ()):
            self._break_off(stream_id)

    def notify(self, notification: told.Notification) -> None:
        """Put a notification in line with the data, if it is subscribed."""
        if self.inbox is not None and type(notification) in self.settings.subscribed:
            self.inbox.put_notification(self, notification)

    def _lose(self, event: engine.AssociationLost) -> None:
        if not self.established:
            state = AssocState.SCTP_CANT_STR_ASSOC
            refused = event.by_peer
            failure: OSError = (
                ConnectionRefusedError(errno.ECONNREFUSED, event.reason)
                if refused
                else TimeoutError(errno.ETIMEDOUT, event.reason)
            )
        else:
            state = AssocState.SCTP_COMM_LOST
            if event.by_peer:
                failure = ConnectionResetError(errno.ECONNRESET, event.reason)
            elif event.cause_code:
                failure = ConnectionAbortedError(errno.ECONNABORTED, event.reason)
            else:
                failure = TimeoutError(errno.ETIMEDOUT, event.reason)
        self._end(failure, self._change(state, event.cause_code, event.reason))

    def _change(self, state: AssocState, error: int, info: str) -> told.AssocChange:
        inbound, outbound = self.streams
        return told.AssocChange(state, error, outbound, inbound, self.id, info)

    def _end(self, failure: OSError | None, change: told.AssocChange) -> None:
        self.failure = failure
        self.ended = True
        self._break_off_all()
        self.notify(change)
        if self.inbox is not None and self.inbox.single:
            self.inbox.end()
        self._let_senders_try(everybody=True)
        self.binding.association_ended(self)
        self._wake()

    def cumulative_tsn(self) -> int:
        """The Cumulative TSN of what was received, as on the wire."""
        found = self.binding.endpoint.look(self.id)
        return 0 if found is None else found.cumulative_tsn

    def consumed(self, size: int) -> None:
        """The user has read so many bytes of one message to its end; the window opens again."""
        found = self.binding.call(self.id)
        if found is not None:
            found.message_consumed(size, self.binding.now)

    # -- waiting ----------------------------------------------------------------------------------------------

    async def changed(self) -> None:
        """Return when it was established, or has ended."""
        if self._changed is None:
            self._changed = []
        waiter = asyncio.get_running_loop().create_future()
        self._changed.append(waiter)
        await waiter

    async def until_established(self) -> None:
        """Wait for the handshake.

        Raises:
            OSError: it failed.
        """
        while not self.established and not self.ended:
            await self.changed()
        if self.ended and self.failure is not None:
            raise self.failure

    async def until_ended(self) -> None:
        """Wait for the end, whatever it is."""
        while not self.ended:
            await self.changed()

    def _wake(self) -> None:
        waiters, self._changed = self._changed, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)

    def _let_senders_try(self, *, everybody: bool = False) -> None:
        while self._senders:
            sender = self._senders[0]
            if sender.done():
                if not everybody:
                    return  # it was told already, and its turn has not come yet
                self._senders.popleft()
                continue
            sender.set_result(None)
            if not everybody:
                return
            self._senders.popleft()

    # -- sending ----------------------------------------------------------------------------------------------

    async def send(
        self,
        data: bytes,
        info: SndInfo,
        prinfo: PrInfo,
        key: int | None = None,
        over: TransportAddress | None = None,
    ) -> None:
        """Send one message, to the address `over` instead of the primary one if it is given.

        Waits while the send buffer is full, behind those who wait already.

        Raises:
            OSError: it cannot be sent.
        """
        if not self._senders and self.try_send(data, info, prinfo, key, over):
            return
        if self._senders is None:
            self._senders = deque()
        senders = self._senders
        turn = asyncio.get_running_loop().create_future()
        senders.append(turn)
        try:
            while True:
                await turn
                if self.try_send(data, info, prinfo, key, over):
                    return
                turn = senders[0] = asyncio.get_running_loop().create_future()
        finally:
            if turn in senders:
                first = senders[0] is turn
                senders.remove(turn)
                if first:
                    self._let_senders_try()

    def try_send(
        self,
        data: bytes,
        info: SndInfo,
        prinfo: PrInfo,
        key: int | None = None,
        over: TransportAddress | None = None,
    ) -> bool:
        """Send one message if there is room for it.

        Raises:
            OSError: it cannot be sent.
        """
        association = self._not_over(self.binding.call_to_send(self.id))
        limit = association.options.send_buffer
        if limit and len(data) > limit:
            raise OSError(errno.EMSGSIZE, f"{len(data)} bytes do not fit the send buffer of {limit}")
        if not self.settings.fragments and len(data) > association.max_fragment:
            raise OSError(errno.EMSGSIZE, f"{len(data)} bytes do not fit a packet of {association.max_fragment}")
        wanted = told.SendFailed in self.settings.subscribed
        value = prinfo.value
        try:
            association.send(
                info.sid,
                data,
                ppid=info.ppid,
                now=self.binding.now,
                unordered=bool(info.flags & SendFlag.SCTP_UNORDERED),
                lifetime=value / 1000 if prinfo.policy == PrPolicy.SCTP_PR_SCTP_TTL else None,
                max_retransmissions=value if prinfo.policy == PrPolicy.SCTP_PR_SCTP_RTX else None,
                drop_priority=value if prinfo.policy == PrPolicy.SCTP_PR_SCTP_PRIO else None,
                context=Sent(info, data if wanted else b""),
                auth_key=key,
                destination=over,
            )
        except SendBufferFull:
            return False
        except InvalidState:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)) from None
        except (InvalidStream, UnknownKey, ValueError) as error:
            raise OSError(errno.EINVAL, str(error)) from None
        self.binding.send_now()
        return True

    @property
    def closing(self) -> bool:
        """Whether nothing can be sent on it any more."""
        found = self.binding.endpoint.look(self.id)
        return found is None or found.closing

    def shutdown(self) -> None:
        """End it gracefully."""
        if not self.ended:
            self.live().shutdown(self.binding.now)

    def abort(self, reason: str) -> None:
        """End it at once."""
        if not self.ended:
            self.live().abort(self.binding.now, reason)

    def sent_as(self, event: engine.SendFailed) -> told.SendFailed:
        """A message that failed, as its sender knows it."""
        sent = event.context
        info, data = (sent.info, sent.data) if isinstance(sent, Sent) else (SndInfo(event.stream_id), b"")
        flags = SendFailedFlag.SCTP_DATA_SENT if event.sent else SendFailedFlag.SCTP_DATA_UNSENT
        return told.SendFailed(flags, 0, info, data, self.id, event.reason)
