"""Data channels over SCTP: the establishment protocol (RFC 8832) and what a channel is (RFC 8831)."""
