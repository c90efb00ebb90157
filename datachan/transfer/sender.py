"""Sends one file over one channel: the asyncio shell of `FileSender`; knows no message of the protocol."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from io import BufferedReader
from os import PathLike
from pathlib import Path

from datachan.peer import InvalidStateError
from datachan.transfer.files import open_regular
from datachan.transfer.machines import CHUNK_SIZE, Accepted, Action, Ended, FileSender, TransferOutcome, TransferState
from datachan.transfer.message_channel import (
    BLOCK_SIZE,
    MessageChannel,
    Progress,
    close_channel,
    failure,
    os_reason,
    require_chunk_size,
    send_actions,
    wait_until_open,
)


@dataclass(frozen=True, slots=True)
class SentFile:
    """A delivered file: its name as offered, its size in bytes, and its SHA-256 in hexadecimal."""

    name: str
    size: int
    sha256: str


async def send_file(
    channel: MessageChannel,
    path: str | PathLike[str],
    *,
    name: str | None = None,
    mime: str | None = None,
    progress: Progress | None = None,
    chunk_size: int = CHUNK_SIZE,
) -> SentFile:
    """Offer a file, send it once the peer accepts, and return when the peer has stored it and the hashes agree.

    The channel is always closed at the end. If the task is canceled, the peer is notified.

    Args:
        channel: Reliable and ordered, used for nothing else. It need not be open yet.
        path: A regular file.
        name: The name in the offer; None for the last component of the path.
        mime: The media type, if known.
        progress: Called after each chunk with the bytes sent and the size.
        chunk_size: Bytes per message, at least 1 and at most the peer's maximum message size.

    Raises:
        TypeError: The path is neither a string nor an `os.PathLike` of one.
        ValueError: `chunk_size` is not positive.
        OSError: The file cannot be opened.
        TransferRefused: The peer declined the file.
        TransferCancelled: The peer cancelled the transfer.
        TransferFailed: The channel closed, the file changed while it was sent, or the hashes differ.
    """
    try:
        require_chunk_size(chunk_size)
        path = Path(path)
        file, size = open_regular(path)
        with file:
            await wait_until_open(channel)
            machine = FileSender(secrets.token_hex(8), path.name if name is None else name, size, mime=mime)
            return await Sending(channel, machine, file, progress, chunk_size).run(aiter(channel))
    finally:
        close_channel(channel)


class Sending:
    """One run of `FileSender`: one task reads the peer's messages while another sends the file."""

    def __init__(
        self,
        channel: MessageChannel,
        machine: FileSender,
        file: BufferedReader,
        progress: Progress | None,
        chunk_size: int,
    ) -> None:
        self._channel = channel
        self._machine = machine
        self._file = file
        self._progress = progress
        self._chunk_size = chunk_size
        self._accepted = asyncio.Event()
        self._ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()

    async def run(self, messages: AsyncIterator[str | bytes]) -> SentFile:
        """Offer the file, send it, and return once it is delivered. `messages` are those of the channel."""
        tasks = [asyncio.create_task(self._listen(messages)), asyncio.create_task(self._send())]
        for task in tasks:
            task.add_done_callback(self._task_done)
        try:
            self._carry_out(self._machine.start())
            ended = await self._ended
        finally:
            # The machine is still running here only if the task was canceled or a callback raised.
            self._carry_out(self._machine.cancel("the sender cancelled the transfer"))
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if ended.outcome is not TransferOutcome.DELIVERED:
            raise failure(ended)
        offer = self._machine.offer
        return SentFile(offer.name, offer.size, self._machine.sha256)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None and not self._ended.done():
            self._ended.set_exception(error)

    def _carry_out(self, actions: list[Action]) -> None:
        for action in send_actions(self._channel, actions):
            if isinstance(action, Accepted):
                self._accepted.set()
            elif isinstance(action, Ended) and not self._ended.done():
                self._ended.set_result(action)

    async def _listen(self, messages: AsyncIterator[str | bytes]) -> None:
        async for message in messages:
            self._carry_out(self._machine.receive_message(message))
            if self._machine.state is TransferState.ENDED:
                return
        self._carry_out(self._machine.channel_closed())

    async def _send(self) -> None:
        await self._accepted.wait()
        machine = self._machine
        while machine.transferred < machine.size:
            wanted = min(BLOCK_SIZE, machine.size - machine.transferred)
            try:
                block = await asyncio.to_thread(self._file.read, wanted)
            except OSError as error:
                return self._carry_out(machine.cancel(f"the sender cannot read the file: {os_reason(error)}"))
            if not block:
                return self._carry_out(machine.cancel("the file became shorter while it was being sent"))
            try:
                await self._send_block(block)
            except InvalidStateError:
                return None  # the channel is closing; the task that reads still finds the reason
        return self._carry_out(machine.finish())

    async def _send_block(self, block: bytes) -> None:
        for start in range(0, len(block), self._chunk_size):
            self._carry_out(self._machine.send_chunk(block[start : start + self._chunk_size]))
            if self._progress is not None:
                self._progress(self._machine.transferred, self._machine.size)
            await self._channel.drain()
