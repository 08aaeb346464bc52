"""Which saved indexes belong to this bank, in this state of it."""

from __future__ import annotations

from memr1_lite.store.connection import Connection

_KEPT = 2
"""The last stamp and the one before: a process may be killed between noting a stamp and renaming its index."""
PREFIX = "index_stamps_"


class Stamps:
    """The stamps of one kind of index, kept in the settings; what is restored from a backup knows no later ones."""

    def __init__(self, connection: Connection, kind: str) -> None:
        self._connection = connection
        self._key = PREFIX + kind

    def announced(self) -> list[str]:
        """The stamps of the last saved indexes, the latest first."""
        return (self._connection._setting(self._key) or "").split()

    def announce(self, stamp: str) -> None:
        """Keep a stamp; it is on disk when this returns.

        :raises StoreError: it cannot be written
        """
        with self._connection.transaction():
            kept = " ".join([stamp, *self.announced()][:_KEPT])
            self._connection._set_setting(self._key, kept)
