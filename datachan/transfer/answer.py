"""Serves a file channel that the peer opened: receives the file it offers, or sends the file it requests."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from os import PathLike
from pathlib import Path
from typing import TypeAlias

from datachan.transfer.control import FileReject, FileRequest, parse_control_untrusted, serialize_control
from datachan.transfer.errors import BadControl, TransferFailed, TransferRefused
from datachan.transfer.files import open_regular
from datachan.transfer.machines import CHUNK_SIZE, FileReceiver, FileSender
from datachan.transfer.message_channel import (
    MessageChannel,
    Progress,
    close_channel,
    require_chunk_size,
    wait_until_open,
)
from datachan.transfer.receiver import DEFAULT_MAX_SIZE, Decide, ReceivedFile, Receiving
from datachan.transfer.sender import Sending, SentFile

Choose: TypeAlias = Callable[[str | None], Path | None]
"""Return the file to send for a requested name, or None to refuse. The name is safe already; None means any file."""


def files_in(folder: str | PathLike[str]) -> Choose:
    """Return a `Choose` that shares the regular files directly in a folder by name, without hidden files and links."""

    def choose(name: str | None) -> Path | None:
        if name is None:
            return None
        path = Path(folder) / name
        return path if path.is_file() and not path.is_symlink() else None

    return choose


async def answer_file(
    channel: MessageChannel,
    folder: str | PathLike[str],
    *,
    choose: Choose | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
    max_size: int | None = DEFAULT_MAX_SIZE,
    accept: Decide | None = None,
    chunk_size: int = CHUNK_SIZE,
) -> ReceivedFile | SentFile:
    """Serve the peer that opened this channel: store the file it offers in `folder`, or send the file it requests.

    Args:
        channel: Reliable and ordered, used for nothing else. It is always closed at the end.
        folder: The folder where an offered file is stored.
        choose: Picks the file for a request, as `files_in(folder)` does; None refuses every request.
        overwrite: As for `receive_file`.
        progress: Called with the bytes moved and the size.
        max_size: As for `receive_file`.
        accept: As for `receive_file`.
        chunk_size: As for `send_file`.

    Raises:
        ValueError, TransferRefused, TransferCancelled, TransferFailed: As `send_file` and `receive_file` do.
    """
    try:
        require_chunk_size(chunk_size)
        await wait_until_open(channel)
        messages = aiter(channel)
        first = await anext(messages, None)
        if first is None:
            raise TransferFailed("the channel closed before the first message")
        if (request := _request_in(first)) is not None:
            return await _send(channel, messages, request, choose, progress, chunk_size)
        machine = FileReceiver(max_size=max_size)
        receiving = Receiving(channel, machine, overwrite, progress, accept)
        return await receiving.run(Path(folder), messages, machine.receive_message(first))
    finally:
        close_channel(channel)


def _request_in(message: str | bytes) -> FileRequest | None:
    if not isinstance(message, str):
        return None
    try:
        control = parse_control_untrusted(message)
    except BadControl:
        return None  # the receiver reports the malformed message to the peer
    return control if isinstance(control, FileRequest) else None


async def _send(
    channel: MessageChannel,
    messages: AsyncIterator[str | bytes],
    request: FileRequest,
    choose: Choose | None,
    progress: Progress | None,
    chunk_size: int,
) -> SentFile:
    path = None if choose is None else choose(request.name)
    try:
        if path is None:
            raise FileNotFoundError
        file, size = open_regular(path)
    except OSError:
        reason = "there is no such file here"
        if channel.readyState == "open":
            channel.send(serialize_control(FileReject("", reason)))
        raise TransferRefused(reason) from None
    with file:
        machine = FileSender(secrets.token_hex(8), path.name, size)
        return await Sending(channel, machine, file, progress, chunk_size).run(messages)
