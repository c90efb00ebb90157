"""One program per stack, each able to be the sender or the receiver of a measurement; `common` has their protocol."""
