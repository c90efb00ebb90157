"""Real stacks over real sockets, through a link with a chosen rate, delay, loss and queue."""
