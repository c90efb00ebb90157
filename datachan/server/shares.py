"""How many connections each address and each user has; every question takes the same time, however many there are."""

from __future__ import annotations

from collections import Counter

from datachan.server.session import Session


class Shares:
    """Counts the sessions of a server by address and user.

    Users are what the authentication hook of the application returns. Those that cannot be hashed, such as
    dictionaries, are compared with one another one by one.
    """

    def __init__(self) -> None:
        self._of_address: Counter[str] = Counter()
        self._of_user: Counter[object] = Counter()
        self._unhashable: list[object] = []
        # Sessions that are not established, the oldest first: a dict keeps the order of insertion.
        self._connecting: dict[str, dict[Session, None]] = {}

    def add(self, session: Session) -> None:
        """Count a new session, which is not established yet."""
        if session.key:
            self._of_address[session.key] += 1
            self._connecting.setdefault(session.key, {})[session] = None
        if session.user is None:
            return
        if _can_be_hashed(session.user):
            self._of_user[session.user] += 1
        else:
            self._unhashable.append(session.user)

    def settle(self, session: Session) -> None:
        """Note that a session does not connect any more: it is established, has ended, or gives way."""
        connecting = self._connecting.get(session.key)
        if connecting is not None:
            connecting.pop(session, None)
            if not connecting:
                del self._connecting[session.key]

    def remove(self, session: Session) -> None:
        """Count a session no more."""
        self.settle(session)
        if session.key:
            self._of_address[session.key] -= 1
            if not self._of_address[session.key]:
                del self._of_address[session.key]
        if session.user is None:
            return
        if not _can_be_hashed(session.user):
            self._unhashable.remove(session.user)
            return
        self._of_user[session.user] -= 1
        if not self._of_user[session.user]:
            del self._of_user[session.user]

    def of_address(self, key: str) -> int:
        """Return how many sessions an address has; 0 for this machine, which has no share."""
        return self._of_address[key]

    def of_user(self, user: object) -> int:
        """Return how many sessions a user has."""
        return self._of_user[user] if _can_be_hashed(user) else self._unhashable.count(user)

    def connecting(self, key: str) -> int:
        """Return how many sessions of an address are not established yet."""
        return len(self._connecting.get(key, ()))

    def oldest_connecting(self, key: str) -> Session | None:
        """Return the session of an address that has not been established for the longest time, if there is one."""
        return next(iter(self._connecting.get(key, ())), None)


def _can_be_hashed(user: object) -> bool:
    try:
        hash(user)
    except TypeError:
        return False
    return True
