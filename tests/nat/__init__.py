"""Whole WebRTC stacks across networks made in this process: NATs, firewalls, dead servers, and networks that change.

`packets` and `gateways` know IP packets, `network` makes hosts and links, `lab` starts coturn and peers in them,
`topologies` and `path_events` say what happens to them. `python -m tests.nat` measures all of it beside other stacks
and writes docs/nat.md; the tests run a part that is quick.
"""
