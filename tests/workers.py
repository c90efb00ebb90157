"""Which worker process runs which test: those that share a browser stay together, all others go wherever there is room.

(pytest-xdist's own `--dist loadgroup` marks groups in the tests' ids, which pytest 9.2 no longer lets it change.)
"""

from __future__ import annotations

import re

from xdist.scheduler.loadscope import LoadScopeScheduling

# What tests/interop/conftest.py puts into the parameters: [chromium-as-a-user…
_BROWSER = re.compile(r"\[(?:.*-)?(chromium|firefox)-")


class BrowsersStayTogether(LoadScopeScheduling):
    """Hand out one test at a time, but all tests of a file that drive the same browser at once."""

    def _split_scope(self, nodeid: str) -> str:
        """Return the name of the group that a test belongs to."""
        found = _BROWSER.search(nodeid)
        return f"{nodeid.partition('::')[0]} {found[1]}" if found else nodeid
