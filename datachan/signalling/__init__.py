"""Introducing peers to one another: the messages, the server and the client."""
