"""The actions of an association: functions of `(core, ...)`, a file for each chapter of an RFC.

`dispatch` receives packets and calls the others. All of them may use `paths`, which counts errors and sends heartbeats;
`handshake` may start a `shutdown`. Otherwise they know neither one another nor the association.
"""
