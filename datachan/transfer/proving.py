"""Runs the proof of a code on a channel, and follows the path of the connection it runs on; knows no file."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable

from datachan.peer import RTCPeerConnection
from datachan.transfer.actions import Ended, Outcome, Proven, Send
from datachan.transfer.channel import TransferChannel, send
from datachan.transfer.fingerprints import BadFingerprint, both_fingerprints
from datachan.transfer.messages import EndCode
from datachan.transfer.pake import Role
from datachan.transfer.proof import PROOF_TIMEOUT, Proof


def proof_for(
    pc: RTCPeerConnection,
    role: Role,
    password: str,
    *,
    verify: bool = False,
    session: tuple[str, str] | None = None,
    secret_of: Callable[[str], str | None] = lambda session: None,
) -> Proof:
    """Return the proof for a connection, over the fingerprints in its two descriptions.

    Raises:
        BadFingerprint: A description has another number of fingerprints than one.
    """
    local, remote = pc.localDescription, pc.remoteDescription
    if local is None or remote is None:
        raise BadFingerprint("the connection has no descriptions yet")
    fingerprints = both_fingerprints(role, local.sdp, remote.sdp)
    return Proof(role, fingerprints, password, secrets.token_bytes, verify=verify, session=session, secret_of=secret_of)


async def prove(channel: TransferChannel, messages: AsyncIterator[str | bytes], proof: Proof) -> Proven | Ended:
    """Exchange the messages of a proof until it has succeeded or failed. The channel stays open."""
    result: Proven | Ended | None = None
    actions = proof.start()
    try:
        async with asyncio.timeout(PROOF_TIMEOUT):
            while True:
                for action in actions:
                    if isinstance(action, Send):
                        send(channel, action.message)
                    elif isinstance(action, Proven | Ended):
                        result = action
                if result is not None:
                    return result
                try:
                    message = await anext(messages)
                except StopAsyncIteration:
                    actions = proof.channel_closed()
                else:
                    actions = proof.receive_message(message)
    except TimeoutError:
        reason = f"the other side did not prove the code within {PROOF_TIMEOUT:g} seconds"
        for action in proof.end(EndCode.FAILED, reason):
            if isinstance(action, Send):
                send(channel, action.message)
        return Ended(Outcome.ENDED_HERE, EndCode.FAILED, reason)


def path_of(pc: RTCPeerConnection) -> str:
    """Return `direct` or `relayed`, as packets travel now; empty if there is no path."""
    pair = None if pc.sctp is None else pc.sctp.transport.iceTransport.getSelectedCandidatePair()
    if pair is None:
        return ""
    return "relayed" if "relay" in (pair.local.type, pair.remote.type) else "direct"


def follow_path(pc: RTCPeerConnection, tell: Callable[[str], object]) -> str:
    """Return the path of a connection that is up, as `path_of` does, and call `tell` with each other one from now on.

    An ICE restart, a network that has changed or a nomination of another pair changes it.
    """
    known = path_of(pc)

    def changed() -> None:
        nonlocal known
        path = path_of(pc)
        if path not in ("", known):
            known = path
            tell(path)

    if pc.sctp is not None:
        pc.sctp.transport.iceTransport.on("selectedcandidatepairchange", changed)
    return known
