"""Assign tests to worker processes: tests that share a browser or another stack stay together.

(pytest-xdist's own `--dist loadgroup` changes the ids of tests, which pytest 9.2 no longer allows.)
"""

from __future__ import annotations

import re

from xdist.scheduler.loadscope import LoadScopeScheduling

# The parameters that tests/interop/conftest.py makes, [chromium-as-a-user…, and tests/interop/stacks, [stack werift-…
_PEER = re.compile(r"\[(?:.*-)?(chromium|firefox|stack .*)-")


class PeersStayTogether(LoadScopeScheduling):
    """Hand out single tests, but all tests of a file with the same peer together."""

    def _split_scope(self, nodeid: str) -> str:
        """Return the name of the group that a test belongs to."""
        found = _PEER.search(nodeid)
        return f"{nodeid.partition('::')[0]} {found[1]}" if found else nodeid
