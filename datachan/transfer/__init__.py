"""Files, folders and texts from one program or page to another: the protocol of docs/transfer-protocol.md.

What is exported here sends and receives over a channel of the caller, between peers that trust each other already.
`datachan.transfer.send_session` and `receive_session` find the peer by a code that both prove first, as `datachan send`
does.
"""

from __future__ import annotations

from datachan.transfer.answer import Choose, answer_transfer, files_in
from datachan.transfer.channel import RateLimit, TransferChannel, is_transfer_channel, open_transfer_channel
from datachan.transfer.errors import TransferCancelled, TransferError, TransferFailed, TransferMisuse, TransferRefused
from datachan.transfer.messages import Entry, Kind
from datachan.transfer.outgoing import OutgoingOffer
from datachan.transfer.receive_offer import Review
from datachan.transfer.receiver import Accept, ReceivePolicy, receive_files, request_files
from datachan.transfer.receiving import ReceivingBounds
from datachan.transfer.results import MissingFile, Progress, ReceivedFile, ReceivedFiles, SentFiles
from datachan.transfer.sender import send_files, send_offer, send_text
from datachan.transfer.sources import Gathered, gather, gather_stream, gather_text
from datachan.transfer.storage import Conflict

__all__ = [
    "Accept",
    "Choose",
    "Conflict",
    "Entry",
    "Gathered",
    "Kind",
    "MissingFile",
    "OutgoingOffer",
    "Progress",
    "RateLimit",
    "ReceivePolicy",
    "ReceivedFile",
    "ReceivedFiles",
    "ReceivingBounds",
    "Review",
    "SentFiles",
    "TransferCancelled",
    "TransferChannel",
    "TransferError",
    "TransferFailed",
    "TransferMisuse",
    "TransferRefused",
    "answer_transfer",
    "files_in",
    "gather",
    "gather_stream",
    "gather_text",
    "is_transfer_channel",
    "open_transfer_channel",
    "receive_files",
    "request_files",
    "send_files",
    "send_offer",
    "send_text",
]
