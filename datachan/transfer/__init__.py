"""Files over a data channel: the protocol, the sender and the receiver."""
