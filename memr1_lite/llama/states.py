"""Evaluated prompt beginnings on disk, so that a restarted app need not read its instructions again.

A file is named by a hash of all that its content depends on, and carries a checksum: what is damaged or belongs to
another model, prompt, setting or version of llama.cpp is not found or not believed, and made anew. It holds what the
model computed from the fixed instructions, and nothing that a user said.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from memr1_lite.llama.library import logger

FORMAT = b"memr1st1"
DIGEST_BYTES = 32
MAX_FILES = 8
"""More are left from models of the past; the oldest go."""
SURELY_LEFT = 600.0
"""Seconds after which a file under a temporary name is one of a killed process."""
SAMPLES = 16
SAMPLE_BYTES = 1 << 18


class PrefixStates:
    """A folder of states, made when the first one is saved.

    :param identity: all that a state depends on beside its tokens
    """

    def __init__(self, folder: Path, identity: Sequence[str]) -> None:
        self._folder = folder
        self._identity = list(identity)

    def load(self, tokens: Sequence[int]) -> bytes | None:
        """The state after ``tokens``; None where there is none that can be trusted."""
        try:
            content = self._path(tokens).read_bytes()
        except OSError:
            return None
        head = len(FORMAT) + DIGEST_BYTES
        state = content[head:]
        if content[:head] != FORMAT + hashlib.sha256(state).digest():
            logger.warning("%s is damaged: the state is made anew.", self._path(tokens))
            return None
        return state

    def save(self, tokens: Sequence[int], state: bytes) -> None:
        """Keep ``state``; a folder that cannot be written only costs the time that was to be saved."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self._folder, delete=False) as file:
                file.write(FORMAT + hashlib.sha256(state).digest() + state)
            os.replace(file.name, self._path(tokens))
            oldest_first = sorted(self._folder.glob("*.state"), key=lambda path: path.stat().st_mtime)
            killed = time.time() - SURELY_LEFT
            left = [path for path in self._folder.glob(f"{tempfile.gettempprefix()}*") if path.stat().st_mtime < killed]
            for path in (*oldest_first[:-MAX_FILES], *left):
                path.unlink(missing_ok=True)
        except OSError as error:
            logger.warning("A prompt's state cannot be kept in %s: %s", self._folder, error)

    def _path(self, tokens: Sequence[int]) -> Path:
        named = json.dumps([self._identity, list(tokens)]).encode()
        return self._folder / f"{hashlib.sha256(named).hexdigest()[:32]}.state"


def fingerprint(path: Path) -> str:
    """Tells model files apart without reading gigabytes: size, time of change, and samples of the content."""
    status = path.stat()
    digest = hashlib.sha256(f"{status.st_size} {status.st_mtime_ns}".encode())
    with path.open("rb") as file:
        for sample in range(SAMPLES + 1):
            file.seek(max(0, (status.st_size - SAMPLE_BYTES) * sample // SAMPLES))
            digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()
