"""Sends files, folders or a text over a channel of the caller; knows no code, room or message.

These functions are for peers that trust each other already: nothing is proved before the offer
(docs/transfer-protocol.md, "Without a code").
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from os import PathLike

from datachan.transfer.actions import Accepted, Action
from datachan.transfer.actions import Progress as Durable
from datachan.transfer.channel import RateLimit, TransferChannel, close_channel, wait_until_open
from datachan.transfer.outgoing import OutgoingOffer
from datachan.transfer.results import Payload, Progress, SentFiles, missing_files, raise_for
from datachan.transfer.send_offer import OfferSending
from datachan.transfer.sending import DATA_MESSAGE
from datachan.transfer.sources import gather, gather_text


async def send_files(
    channel: TransferChannel,
    paths: str | PathLike[str] | Sequence[str | PathLike[str]],
    *,
    exclude: Sequence[str] = (),
    progress: Progress | None = None,
    limit: RateLimit | None = None,
    message_size: int = DATA_MESSAGE,
) -> SentFiles:
    """Offer files and folders, send what the peer accepts, and return once all of it is stored and verified there.

    The channel is always closed at the end. If the task is canceled, the peer is told. What it has received by then is
    kept there: offering the same files again goes on at that point.

    Args:
        channel: Reliable and ordered, used for nothing else. It need not be open yet.
        paths: A file or a folder, or several.
        exclude: Patterns such as `*.tmp` of names to leave out.
        progress: Called with the bytes that are durable at the peer, and the bytes that it wants.
        limit: Limits the bytes per second; may be shared by several transfers.
        message_size: Bytes of a message, at most the peer's `maxMessageSize`.

    Raises:
        OSError: A path does not exist or cannot be read.
        TransferMisuse: There is nothing to send, or too much.
        TransferRefused: The peer declined the offer.
        TransferCancelled: The peer stopped the transfer.
        TransferFailed: The channel closed, or the peer could not store the files.
    """
    several = [paths] if isinstance(paths, str | PathLike) else list(paths)
    try:
        offer = OutgoingOffer(await asyncio.to_thread(gather, several, exclude=exclude))
        return await send_offer(channel, offer, progress=progress, limit=limit, message_size=message_size)
    finally:
        close_channel(channel)


async def send_text(channel: TransferChannel, text: str) -> SentFiles:
    """Offer a text, which the peer shows to a person instead of storing it.

    Args:
        channel: As for `send_files`.
        text: At most 1 MiB in UTF-8.

    Raises:
        TransferMisuse: The text is too long.
        TransferError: As for `send_files`.
    """
    try:
        return await send_offer(channel, OutgoingOffer(gather_text(text)))
    finally:
        close_channel(channel)


async def send_offer(
    channel: TransferChannel,
    offer: OutgoingOffer,
    *,
    progress: Progress | None = None,
    limit: RateLimit | None = None,
    message_size: int = DATA_MESSAGE,
) -> SentFiles:
    """Send an offer as `send_files` does. One offer may go to several peers, which share one read of the disk.

    Args:
        channel: As for `send_files`, and so are `progress`, `limit` and `message_size`.
        offer: Such as `OutgoingOffer(gather(paths), receivers=3)`.
        progress: As for `send_files`.
        limit: As for `send_files`.
        message_size: As for `send_files`.

    Raises:
        TransferError: As for `send_files`.
    """
    try:
        await wait_until_open(channel)
        return await run_offer(channel, aiter(channel), offer, progress, limit, message_size)
    finally:
        close_channel(channel)


async def run_offer(
    channel: TransferChannel,
    messages: AsyncIterator[str | bytes],
    offer: OutgoingOffer,
    progress: Progress | None,
    limit: RateLimit | None = None,
    message_size: int = DATA_MESSAGE,
) -> SentFiles:
    """Send an offer on an open channel whose messages are being read, and return what the receiver has stored."""
    count = _Counter(offer, progress)
    sending = OfferSending(channel, offer, notify=count.take, limit=limit, data_message=message_size)
    count.sending = sending
    raise_for(await sending.run(messages))
    count.finish()
    machine = sending.machine
    stored = tuple(offer.entries[file].path for file in sorted(machine.stored))
    return SentFiles(stored, missing_files(offer.entries, [(f, item.reason) for f, item in machine.missing.items()]))


class _Counter:
    """Calls `progress` as the receiver makes bytes durable."""

    def __init__(self, offer: OutgoingOffer, progress: Progress | None) -> None:
        self.sending: OfferSending | None = None
        self._offer = offer
        self._progress = progress
        self._payload = Payload((), offer.piece)

    def take(self, action: Action) -> None:
        """Take an action of the machine."""
        if self._progress is None or self.sending is None:
            return
        if isinstance(action, Accepted):
            wanted = self.sending.machine.wanted
            self._payload = Payload((self._offer.entries[file] for file in wanted), self._offer.piece)
            self._progress(0, self._payload.size)
        elif isinstance(action, Durable):
            done = self._payload.done(action.durable, self.sending.machine.resumed)
            self._progress(done, self._payload.size)

    def finish(self) -> None:
        """Report that everything is done."""
        if self._progress is not None and self.sending is not None:
            machine = self.sending.machine
            self._progress(self._payload.done(machine.sent_bytes, machine.resumed), self._payload.size)
