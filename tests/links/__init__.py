"""Real stacks over real sockets, through a link whose rate, delay, loss and queue are chosen."""
