"""RTCPeerConnection, RTCDataChannel and friends, named and behaving as W3C has them."""
