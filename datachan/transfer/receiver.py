"""Stores one file from one channel: the asyncio shell of `FileReceiver`; knows no message of the protocol."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Final, TypeAlias

from datachan.transfer.control import FileOffer
from datachan.transfer.files import PartFile, objection_to, require_folder
from datachan.transfer.machines import (
    Action,
    Ended,
    FileReceiver,
    Offered,
    TransferOutcome,
    TransferState,
    Verified,
    Write,
)
from datachan.transfer.message_channel import (
    BLOCK_SIZE,
    MessageChannel,
    Progress,
    close_channel,
    failure,
    os_reason,
    send_actions,
    wait_until_open,
)

DEFAULT_MAX_SIZE: Final = 1024 * 1024 * 1024
"""The longest file that is received by default, in bytes."""

Decide: TypeAlias = Callable[[FileOffer], bool | Awaitable[bool]]
"""Returns whether to accept an offer."""


@dataclass(frozen=True, slots=True)
class ReceivedFile:
    """A stored file: its path, its size in bytes, and its SHA-256 in hexadecimal."""

    path: Path
    size: int
    sha256: str


async def receive_file(
    channel: MessageChannel,
    folder: str | PathLike[str],
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    max_size: int | None = DEFAULT_MAX_SIZE,
    accept: Decide | None = None,
) -> ReceivedFile:
    """Wait for the peer's offer, receive the file, and return once it is stored and its hash is correct.

    The file is written as `NAME.….part` and gets its name when it is complete. If the transfer fails, the temporary
    file is removed. The channel is always closed at the end. If the task is canceled, the peer is notified.

    Args:
        channel: Reliable and ordered, used for nothing else.
        folder: An existing folder. The file gets the peer's name after `safe_name`, so it cannot leave the folder.
        overwrite: Replace a file of the same name; otherwise such an offer is refused.
        progress: Called after each chunk with the bytes received and the size.
        max_size: Bytes; larger offers are refused. None accepts any size that the disk has room for.
        accept: Called with each offer; may be a coroutine function. None accepts every offer up to `max_size`.

    Raises:
        NotADirectoryError: The folder does not exist.
        TransferRefused: This side refused the offer.
        TransferCancelled: The peer canceled the transfer.
        TransferFailed: The channel closed, the hash was wrong, or the file could not be stored.
    """
    receiving = Receiving(channel, FileReceiver(max_size=max_size), overwrite, progress, accept)
    return await receiving.run_and_close(folder)


async def request_file(
    channel: MessageChannel,
    name: str | None,
    folder: str | PathLike[str],
    *,
    overwrite: bool = False,
    progress: Progress | None = None,
    max_size: int | None = DEFAULT_MAX_SIZE,
) -> ReceivedFile:
    """Request the file of this name (None: any file) from the peer and store it as `receive_file` does.

    Raises:
        TransferRefused: Also if the peer does not have the file.
    """
    receiving = Receiving(channel, FileReceiver(max_size=max_size), overwrite, progress, None)
    return await receiving.run_and_close(folder, lambda machine: machine.request(name))


class Receiving:
    """One run of `FileReceiver`."""

    def __init__(
        self,
        channel: MessageChannel,
        machine: FileReceiver,
        overwrite: bool,
        progress: Progress | None,
        accept: Decide | None,
    ) -> None:
        self._channel = channel
        self._machine = machine
        self._overwrite = overwrite
        self._progress = progress
        self._accept = accept
        self._folder = Path()
        self._part: PartFile | None = None
        self._block = bytearray()
        self._ended: Ended | None = None

    async def run_and_close(
        self, folder: str | PathLike[str], start: Callable[[FileReceiver], list[Action]] = lambda machine: []
    ) -> ReceivedFile:
        """Wait until the channel is open, run the transfer, and close the channel."""
        try:
            path = Path(folder)
            require_folder(path)
            await wait_until_open(self._channel)
            return await self.run(path, aiter(self._channel), start(self._machine))
        finally:
            close_channel(self._channel)

    async def run(
        self, folder: Path, messages: AsyncIterator[str | bytes], first_actions: list[Action]
    ) -> ReceivedFile:
        """Perform `first_actions`, then the actions for each message of the channel, until the transfer has ended."""
        self._folder = folder
        try:
            await self._carry_out(first_actions)
            while self._machine.state is not TransferState.ENDED:
                try:
                    message = await anext(messages)
                except StopAsyncIteration:
                    await self._carry_out(self._machine.channel_closed())
                else:
                    await self._carry_out(self._machine.receive_message(message))
        finally:
            # The machine is still running here only if the task was canceled or a callback raised.
            send_actions(self._channel, self._machine.cancel("the receiver cancelled the transfer"))
            if self._part is not None:
                self._part.discard()
        return self._result()

    def _result(self) -> ReceivedFile:
        if self._part is None or self._ended is None or self._ended.outcome is not TransferOutcome.DELIVERED:
            raise failure(self._ended or Ended(TransferOutcome.FAILED))
        return ReceivedFile(self._part.target, self._machine.size, self._machine.sha256)

    async def _carry_out(self, actions: list[Action]) -> None:
        pending = list(actions)
        while pending:
            pending = send_actions(self._channel, pending)
            if not pending:
                return
            action = pending.pop(0)
            try:
                pending.extend(await self._act(action))
            except OSError as error:
                pending = self._machine.cancel(f"the receiver cannot store the file: {os_reason(error)}")

    async def _act(self, action: Action) -> list[Action]:
        if isinstance(action, Offered):
            return await self._decide(action.offer)
        if isinstance(action, Write):
            await self._write(action.data)
        elif isinstance(action, Verified):
            return await self._store()
        elif isinstance(action, Ended):
            self._ended = action
        return []

    async def _decide(self, offer: FileOffer) -> list[Action]:
        target = self._folder / offer.name
        objection = await asyncio.to_thread(objection_to, target, offer.size, overwrite=self._overwrite)
        if objection is not None:
            return self._machine.reject(objection)
        if self._accept is not None:
            decision = self._accept(offer)
            if inspect.isawaitable(decision):
                decision = await decision
            if not decision:
                return self._machine.reject("the receiver does not want the file")
        self._part = PartFile(target, overwrite=self._overwrite)
        await asyncio.to_thread(self._part.open)
        return self._machine.accept()

    async def _write(self, data: bytes) -> None:
        self._block += data  # a list would hold a million objects if the peer sent single bytes
        if len(self._block) >= BLOCK_SIZE:
            await self._flush()
        if self._progress is not None:
            self._progress(self._machine.transferred, self._machine.size)

    async def _flush(self) -> None:
        block, self._block = self._block, bytearray()
        if self._part is not None and block:
            await asyncio.to_thread(self._part.write, block)

    async def _store(self) -> list[Action]:
        await self._flush()
        if self._part is not None:
            await asyncio.to_thread(self._part.commit)
        return self._machine.stored()
