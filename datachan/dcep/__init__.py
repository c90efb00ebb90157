"""Data channels over SCTP: how one is opened (RFC 8832) and what one is (RFC 8831).

    errors.py     what our caller gets for misuse
    messages.py   OPEN and ACK as bytes and as values
    payload.py    the payload protocol identifiers, and the byte that stands for an empty message
    ids.py        which stream a channel of ours gets
    channel.py    one channel: properties, state, accounts
    events.py     what the user is told
    table.py      which channel is on which stream, and how many the peer may have
    held.py       messages that came before their channel, within bounds
    link.py       what is asked of the association
    inbound.py    what the peer does, and the answer to what it does wrong
    channels.py   `DataChannels`: what the user asks for, opening and closing

A channel is a pair of streams with one identifier. It closes when both have been reset, and only then its identifier
is free; a peer that learns this before we do may use it again at once, which is why messages can be held.
"""
