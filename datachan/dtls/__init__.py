"""DTLS over memory BIOs as a sans-IO machine, and the certificates it authenticates with."""
