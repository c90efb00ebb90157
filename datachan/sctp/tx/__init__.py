"""The sending half of an association: send queues, outstanding chunks, and retransmission."""
