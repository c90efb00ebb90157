"""The receiving half of an association: received TSNs, reassembly and the receiver window."""
