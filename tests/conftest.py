"""Tests open banks without the sentence encoder that this machine's user may have built."""

from __future__ import annotations

import os
import tempfile

os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="memr1-tests-")
