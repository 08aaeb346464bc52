"""Child processes that report line by line, and can be killed at any moment."""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import time
import traceback


class Child:
    """``work(say)`` in a process of its own; ``say`` takes what can be JSON, and has reached us when it returns."""

    def __init__(self, work):
        reading, writing = os.pipe()
        sys.stdout.flush()
        self.process = os.fork()
        if self.process == 0:
            os.close(reading)
            code = 1
            try:
                work(lambda said: os.write(writing, (json.dumps(said) + "\n").encode()))
                code = 0
            except BaseException:  # noqa: BLE001 - reported to the parent, whatever it is; nothing may run on here
                os.write(writing, (json.dumps({"failed": traceback.format_exc()}) + "\n").encode())
            finally:
                os._exit(code)
        os.close(writing)
        self._reading = reading
        self._heard = b""

    def hear(self, seconds, lines=1):
        """Wait for so many lines, or for the end, for at most so many seconds."""
        until = time.monotonic() + seconds
        while self._heard.count(b"\n") < lines and (left := until - time.monotonic()) > 0:
            ready, _, _ = select.select([self._reading], [], [], left)
            if ready and not self._read():
                return

    def kill(self):
        """SIGKILL, then everything that was said before it."""
        os.kill(self.process, signal.SIGKILL)
        return self.finish()

    def finish(self):
        """Wait for the end, then everything that was said; half a line was not said."""
        while self._read():
            pass
        os.close(self._reading)
        os.waitpid(self.process, 0)
        whole = self._heard[: self._heard.rfind(b"\n") + 1]
        return [json.loads(line) for line in whole.splitlines()]

    def _read(self):
        read = os.read(self._reading, 1 << 16)
        self._heard += read
        return bool(read)
