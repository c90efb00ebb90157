"""What an association does: functions of `(core, ...)`, a file for each chapter of an RFC.

`dispatch` receives packets and calls the others. All of them may use `paths`, which counts errors and sends heartbeats;
`handshake` may start what `shutdown` does. Otherwise they do not know one another, and none knows the association.
"""
