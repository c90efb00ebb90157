"""ICE: the datagram transport that a peer connection runs over."""
