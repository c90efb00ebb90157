"""One association of a socket: its events become messages and notifications, and its senders wait here for room.

It knows the driver of its endpoint and the receive queue of its socket; the queue may change (`peeloff`).
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from datachan.sctp import Association, InvalidAddress, InvalidState, InvalidStream, SendBufferFull, UnknownKey
from datachan.sctp import events as engine
from datachan.sctp.addresses import TransportAddress
from datachan.sctp.records.capabilities import Capabilities

from . import notifications as values
from .ancillary import Address, PeerAddress, PrInfo, SndInfo
from .constants import AssocState, PartialDeliveryIndication, PrPolicy, SendFailedFlag, SendFlag
from .endpoint_driver import EndpointDriver
from .host_addresses import numeric_host
from .port_probe import PortProbe
from .receive_queue import ReceiveQueue
from .settings import Settings
from .translation import notifications_for


class SentMessage:
    """How a message was sent, for the notification of its failure; its data only if that is subscribed."""

    __slots__ = ("data", "info")

    def __init__(self, info: SndInfo, data: bytes) -> None:
        self.info = info
        self.data = data


class SocketAssociation:
    """One association of a socket.

    Args:
        assoc_id: its association id.
        driver: the driver of its endpoint.
        queue: the receive queue of its socket, or None.
        settings: its settings to begin with.
        peer: the peer's (host, SCTP port).

    Attributes:
        id: its association id.
        driver: the driver of its endpoint.
        queue: where its messages and notifications go; None discards them.
        settings: its settings.
        address: the peer's (host, SCTP port).
        established: whether it was ever established.
        ended: whether it has ended.
        failure: the error of calls after its end; None after a graceful one.
        streams: the numbers of (inbound, outbound) streams; (0, 0) before it is established.
    """

    __slots__ = (
        "_partial_deliveries",
        "_probe",
        "_refused",
        "_senders",
        "_state_waiters",
        "address",
        "driver",
        "ended",
        "established",
        "failure",
        "id",
        "queue",
        "settings",
        "streams",
    )

    def __init__(
        self,
        assoc_id: int,
        driver: EndpointDriver,
        queue: ReceiveQueue[SocketAssociation] | None,
        settings: Settings,
        peer: PeerAddress,
    ) -> None:
        self.id = assoc_id
        self.driver = driver
        self.queue = queue
        self.settings = settings
        self.address = peer
        self.established = False
        self.ended = False
        self.failure: OSError | None = None
        self.streams = (0, 0)
        self._probe: PortProbe | None = None
        self._refused = ""  # why, if the system reported that the peer's UDP port is closed
        self._senders: deque[asyncio.Future[None]] | None = None
        self._state_waiters: list[asyncio.Future[None]] | None = None
        self._partial_deliveries: dict[int, int] | None = None  # stream -> number of its unfinished message

    def live(self) -> Association:
        """Return the engine's association for calls.

        Raises:
            OSError: the association has ended.
        """
        return self._check_live(self.driver.association(self.id))

    def _check_live(self, found: Association | None) -> Association:
        if found is None or self.ended:
            raise self.failure or BrokenPipeError(errno.EPIPE, "the association has ended")
        return found

    def to_read(self) -> Association | None:
        """Return the engine's association for reading only; None after its end."""
        return self.driver.association_to_read(self.id)

    @property
    def extensions(self) -> Capabilities | None:
        """The extensions agreed on with the peer; None before the association is established and after its end."""
        live = self.to_read()
        return None if live is None else live.extensions

    def transport_address(self, address: Address) -> TransportAddress:
        """Return an address of the peer with its UDP port.

        Raises:
            OSError: the peer does not have this address.
        """
        host = numeric_host(address)
        live = self.to_read()
        for known in () if live is None else live.peer_addresses():
            if known[0] == host:
                return known
        raise OSError(errno.EINVAL, f"{address[0]} is no address of the peer")

    def change_options(self, changes: dict[str, Any]) -> None:
        """Change protocol parameters, by their names in `AssociationOptions`."""
        self.settings = replace(self.settings, options=replace(self.settings.options, **changes))
        if not self.ended:
            live = self.live()
            live.change_options(replace(live.options, **changes))

    # -- events of the engine ------------------------------------------------------------------------------------------

    def handle(self, event: engine.Event) -> None:
        """Handle one event of the engine."""
        if isinstance(event, engine.MessageReceived):
            self._receive(event)
            return
        if isinstance(event, engine.PartialDeliveryAborted):
            self._break_off(event.stream_id)
            return
        if isinstance(event, engine.StreamProgress):
            self._wake_sender()
            return
        if isinstance(event, engine.AssociationRestarted | engine.AssociationReset):
            self._break_off_all()
        if isinstance(event, engine.AssociationEstablished | engine.AssociationRestarted):
            self.established = True
            self.streams = (event.inbound_streams, event.outbound_streams)
            self._stop_probe()
            self._wake_state_waiters()
        elif isinstance(event, engine.StreamsAdded):
            self.streams = (event.inbound_streams, event.outbound_streams)
        elif isinstance(event, engine.AssociationClosed):
            self._end(None, self._change(AssocState.SCTP_SHUTDOWN_COMP, 0, ""))
            return
        elif isinstance(event, engine.AssociationLost):
            self._lose(event)
            return
        elif isinstance(event, engine.SendFailed):
            self.notify(self._send_failed(event))
            return
        for notification in notifications_for(self.id, self.address, event):
            self.notify(notification)
        if isinstance(event, engine.ShutdownReceived):
            self._wake_sender()

    def _receive(self, event: engine.MessageReceived) -> None:
        if self.queue is None:
            self.consume(len(event.data))
            return
        if not event.last:
            if self._partial_deliveries is None:
                self._partial_deliveries = {}
            self._partial_deliveries[event.stream_id] = event.ssn
        elif self._partial_deliveries:
            self._partial_deliveries.pop(event.stream_id, None)
        self.queue.put_message(self, event)

    def _break_off(self, stream_id: int) -> None:
        """End the partial delivery on a stream, if there is one, because the rest of its message will not arrive."""
        number = self._partial_deliveries.pop(stream_id, None) if self._partial_deliveries else None
        if number is None or self.queue is None:
            return
        aborted = PartialDeliveryIndication.SCTP_PARTIAL_DELIVERY_ABORTED
        notification = values.PartialDeliveryEvent(aborted, stream_id, number & 0xFFFF, self.id)
        subscribed = values.PartialDeliveryEvent in self.settings.subscribed
        self.queue.put_broken(self, stream_id, notification if subscribed else None)

    def _break_off_all(self) -> None:
        for stream_id in list(self._partial_deliveries or ()):
            self._break_off(stream_id)

    def notify(self, notification: values.Notification) -> None:
        """Put a notification into the receive queue, if it is subscribed."""
        if self.queue is not None and type(notification) in self.settings.subscribed:
            self.queue.put_notification(self, notification)

    def _lose(self, event: engine.AssociationLost) -> None:
        failure: OSError
        if not self.established:
            state = AssocState.SCTP_CANT_STR_ASSOC
            if event.by_peer or self._refused:
                failure = ConnectionRefusedError(errno.ECONNREFUSED, self._refused or event.reason)
            else:
                failure = TimeoutError(errno.ETIMEDOUT, event.reason)
        else:
            state = AssocState.SCTP_COMM_LOST
            if event.by_peer:
                failure = ConnectionResetError(errno.ECONNRESET, event.reason)
            elif event.cause_code:
                failure = ConnectionAbortedError(errno.ECONNABORTED, event.reason)
            else:
                failure = TimeoutError(errno.ETIMEDOUT, event.reason)
        self._end(failure, self._change(state, event.cause_code, event.reason))

    def _change(self, state: AssocState, error: int, info: str) -> values.AssocChange:
        inbound, outbound = self.streams
        return values.AssocChange(state, error, outbound, inbound, self.id, info)

    def _end(self, failure: OSError | None, change: values.AssocChange) -> None:
        self.failure = failure
        self.ended = True
        self._stop_probe()
        self._break_off_all()
        self.notify(change)
        if self.queue is not None and self.queue.single:
            self.queue.end()
        self._wake_all_senders()
        self._wake_state_waiters()

    def cumulative_tsn(self) -> int:
        """Return the Cumulative TSN of the received data, as on the wire."""
        found = self.to_read()
        return 0 if found is None else found.cumulative_tsn

    def consume(self, size: int) -> None:
        """Open the receiver window by one message of `size` bytes that the program has read to its end."""
        found = self.driver.association(self.id)
        if found is not None:
            found.message_consumed(size, self.driver.now)

    # -- setup ---------------------------------------------------------------------------------------------------------

    def probe(self, targets: Sequence[TransportAddress]) -> None:
        """End the setup of the association as soon as the system reports that the peer's UDP port is closed.

        Args:
            targets: the addresses that the peer may have.
        """
        self._probe = PortProbe(targets, lambda: self._refuse(targets))

    def _refuse(self, targets: Sequence[TransportAddress]) -> None:
        # RFC 9260, 10, ICMP8: "If it does contain an INIT chunk and the association is in the COOKIE-WAIT state, handle
        # the ICMP message like an ABORT chunk."
        hosts = ", ".join(host for host, _ in targets)
        self._refused = f"no program has UDP port {targets[0][1]} at {hosts}"
        self.abort(self._refused)

    def _stop_probe(self) -> None:
        if self._probe is not None:
            self._probe.close()
            self._probe = None

    # -- waiting -------------------------------------------------------------------------------------------------------

    async def _wait_for_state(self) -> None:
        """Return when the association has been established, or has ended."""
        if self._state_waiters is None:
            self._state_waiters = []
        waiter = asyncio.get_running_loop().create_future()
        self._state_waiters.append(waiter)
        await waiter

    async def wait_until_established(self) -> None:
        """Wait for the end of the handshake.

        Raises:
            OSError: the handshake failed.
        """
        while not self.established and not self.ended:
            await self._wait_for_state()
        if self.ended and self.failure is not None:
            raise self.failure

    async def wait_until_ended(self) -> None:
        """Wait for the end of the association, graceful or not."""
        while not self.ended:
            await self._wait_for_state()

    def _wake_state_waiters(self) -> None:
        waiters, self._state_waiters = self._state_waiters, None
        for waiter in waiters or ():
            if not waiter.done():
                waiter.set_result(None)

    def _wake_sender(self) -> None:
        """Wake the first waiting sender, unless it is awake and its turn has not come yet."""
        if self._senders and not self._senders[0].done():
            self._senders[0].set_result(None)

    def _wake_all_senders(self) -> None:
        for sender in self._senders or ():
            if not sender.done():
                sender.set_result(None)
        if self._senders:
            self._senders.clear()

    # -- sending -------------------------------------------------------------------------------------------------------

    async def send(
        self,
        data: bytes,
        info: SndInfo,
        prinfo: PrInfo,
        key: int | None = None,
        destination: TransportAddress | None = None,
    ) -> None:
        """Send one message; wait behind earlier senders while the send buffer is full.

        Args:
            data: the message.
            info: its stream, flags and context.
            prinfo: when it is abandoned.
            key: the shared key that authenticates it; None for the active one.
            destination: the peer's address to send to; None for the primary one.

        Raises:
            OSError: the message cannot be sent.
        """
        if not self._senders and self.try_send(data, info, prinfo, key, destination):
            return
        if self._senders is None:
            self._senders = deque()
        senders = self._senders
        turn = asyncio.get_running_loop().create_future()
        senders.append(turn)
        try:
            while True:
                await turn
                if self.try_send(data, info, prinfo, key, destination):
                    return
                turn = senders[0] = asyncio.get_running_loop().create_future()
        finally:
            if turn in senders:
                first = senders[0] is turn
                senders.remove(turn)
                if first:
                    self._wake_sender()

    def try_send(
        self,
        data: bytes,
        info: SndInfo,
        prinfo: PrInfo,
        key: int | None = None,
        destination: TransportAddress | None = None,
    ) -> bool:
        """Send one message if the send buffer has room for it; return whether it had.

        Args:
            data: the message.
            info: its stream, flags and context.
            prinfo: when it is abandoned.
            key: the shared key that authenticates it; None for the active one.
            destination: the peer's address to send to; None for the primary one.

        Raises:
            OSError: the message cannot be sent.
        """
        association = self._check_live(self.driver.association_to_send(self.id))
        limit = association.options.send_buffer
        if limit and len(data) > limit:
            raise OSError(errno.EMSGSIZE, f"{len(data)} bytes do not fit the send buffer of {limit}")
        if not self.settings.fragments and len(data) > association.max_fragment:
            raise OSError(errno.EMSGSIZE, f"{len(data)} bytes do not fit a packet of {association.max_fragment}")
        keeps_data = values.SendFailedEvent in self.settings.subscribed
        value = prinfo.value
        try:
            association.send(
                info.sid,
                data,
                ppid=info.ppid,
                now=self.driver.now,
                unordered=bool(info.flags & SendFlag.SCTP_UNORDERED),
                lifetime=value / 1000 if prinfo.policy == PrPolicy.SCTP_PR_SCTP_TTL else None,
                max_retransmissions=value if prinfo.policy == PrPolicy.SCTP_PR_SCTP_RTX else None,
                drop_priority=value if prinfo.policy == PrPolicy.SCTP_PR_SCTP_PRIO else None,
                context=SentMessage(info, data if keeps_data else b""),
                auth_key=key,
                destination=destination,
            )
        except SendBufferFull:
            return False
        except InvalidState:
            raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)) from None
        except (InvalidAddress, InvalidStream, UnknownKey, ValueError) as error:
            raise OSError(errno.EINVAL, str(error)) from None
        self.driver.send_now()
        return True

    @property
    def closing(self) -> bool:
        """Whether nothing more can be sent: a graceful end has begun, or the association has ended."""
        found = self.to_read()
        return found is None or found.closing

    def shutdown(self) -> None:
        """Start the graceful end: everything queued on both sides is delivered first."""
        if not self.ended:
            self.live().shutdown(self.driver.now)

    def abort(self, reason: str) -> None:
        """End the association at once and send the peer an ABORT with the reason."""
        if not self.ended:
            self.live().abort(self.driver.now, reason)

    def drop(self) -> None:
        """End the association at once because its setup is not needed; its peer can be connected to again."""
        self.queue = None
        self.abort("")
        self.driver.flush()

    def _send_failed(self, event: engine.SendFailed) -> values.SendFailedEvent:
        """Return the notification of a message that was abandoned."""
        sent = event.context
        info, data = (sent.info, sent.data) if isinstance(sent, SentMessage) else (SndInfo(event.stream_id), b"")
        flags = SendFailedFlag.SCTP_DATA_SENT if event.sent else SendFailedFlag.SCTP_DATA_UNSENT
        return values.SendFailedEvent(flags, 0, info, data, self.id, event.reason)
