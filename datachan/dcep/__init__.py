"""Data channels over an SCTP association: the establishment protocol (RFC 8832) and the channels (RFC 8831)."""
