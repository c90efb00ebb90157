"""Serves a transfer channel that the peer opened: receives what it offers, or sends what it requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Final, TypeAlias

from datachan.transfer.channel import TransferChannel, close_channel, send, wait_until_open
from datachan.transfer.errors import TransferError, TransferFailed, TransferRefused
from datachan.transfer.messages import BadMessage, End, EndCode, Request, parse_message_untrusted, serialize_message
from datachan.transfer.names import safe_path
from datachan.transfer.outgoing import OutgoingOffer
from datachan.transfer.receiver import ReceivePolicy, Reception
from datachan.transfer.results import Progress, ReceivedFiles, SentFiles
from datachan.transfer.sender import run_offer
from datachan.transfer.sources import gather

Choose: TypeAlias = Callable[[str | None], Sequence[Path]]
"""Returns the paths to offer for a requested name, which is safe already, or for None; nothing refuses the request."""

_NOTHING_HERE: Final = "there is no such file here"


def files_in(folder: str | PathLike[str]) -> Choose:
    """Return a `Choose` that shares the regular files directly in a folder, without hidden files and links."""

    def is_shared(path: Path) -> bool:
        return path.is_file() and not path.is_symlink() and not path.name.startswith(".")

    def choose(name: str | None) -> Sequence[Path]:
        paths = sorted(Path(folder).iterdir()) if name is None else [Path(folder) / name]
        return list(filter(is_shared, paths))

    return choose


async def first_message(messages: AsyncIterator[str | bytes]) -> str | bytes:
    """Return the first message of the peer, apart from messages of types that this version does not know.

    Raises:
        TransferFailed: The channel closed before.
    """
    async for message in messages:
        if not isinstance(message, str):
            return message
        try:
            if parse_message_untrusted(message) is not None:
                return message
        except BadMessage:
            return message  # the receiver tells the peer what is wrong with it
    raise TransferFailed("the channel closed before the first message")


async def answer_transfer(
    channel: TransferChannel,
    folder: str | PathLike[str],
    policy: ReceivePolicy | None = None,
    *,
    choose: Choose | None = None,
    progress: Progress | None = None,
) -> ReceivedFiles | SentFiles:
    """Serve the peer that opened this channel: store what it offers in `folder`, or send what it requests.

    Args:
        channel: Reliable and ordered, used for nothing else. It is always closed at the end.
        folder: The folder where an offer is stored.
        policy: What to accept, and how to store it, as for `receive_files`.
        choose: Picks what to offer for a request, as `files_in(folder)` does; None refuses every request.
        progress: As for `send_files` and `receive_files`.

    Raises:
        TransferError: As `send_files` and `receive_files` do.
    """
    try:
        await wait_until_open(channel)
        messages = aiter(channel)
        first = await first_message(messages)
        return await answer_message(channel, messages, first, folder, policy, choose=choose, progress=progress)
    finally:
        close_channel(channel)


async def answer_message(
    channel: TransferChannel,
    messages: AsyncIterator[str | bytes],
    first: str | bytes,
    folder: str | PathLike[str],
    policy: ReceivePolicy | None,
    *,
    choose: Choose | None,
    progress: Progress | None,
    completed: Callable[[ReceivedFiles], object] | None = None,
) -> ReceivedFiles | SentFiles:
    """Serve a channel whose first message was read already, as `answer_transfer` does. The channel stays open."""
    request = _request_in(first)
    if request is None:
        return await Reception(channel, folder, policy, progress, completed).run(messages, first)
    try:
        offer = await asyncio.to_thread(_offer_for, request, choose)
    except (OSError, TransferError):
        send(channel, serialize_message(End(EndCode.NOT_FOUND, _NOTHING_HERE)))
        raise TransferRefused(_NOTHING_HERE, EndCode.NOT_FOUND.value) from None
    return await run_offer(channel, messages, offer, progress)


def _request_in(message: str | bytes) -> Request | None:
    if not isinstance(message, str):
        return None
    try:
        parsed = parse_message_untrusted(message)
    except BadMessage:
        return None
    return parsed if isinstance(parsed, Request) else None


def _offer_for(request: Request, choose: Choose | None) -> OutgoingOffer:
    """Return the offer that answers a request. Reads folders, so it runs in a thread."""
    name = None if request.name is None else safe_path(request.name)[0]
    paths = [] if choose is None else choose(name)
    return OutgoingOffer(gather(paths))
