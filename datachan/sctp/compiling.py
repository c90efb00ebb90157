"""What the compiler is told about classes; without it, nothing changes. It is not compiled itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["mypyc_attr"]

if TYPE_CHECKING:
    from mypy_extensions import mypyc_attr
else:

    def mypyc_attr(**attributes: Any) -> Any:
        """Return a decorator that does nothing: only the compiler reads its arguments."""
        return lambda cls: cls
