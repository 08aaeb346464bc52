"""The tokenizers of Qwen2 and Llama 3 as they really are: skipped where llama.cpp's sources are not in the cache.

``python -m benchmarks.real_tokenizers`` fetches them, and runs the same comparison.
"""

from __future__ import annotations

import pytest

from benchmarks import real_tokenizers
from benchmarks.llamacpp import CACHE

TEXTS = 46 + 2 * 15  # llama.cpp's own; the corpus, trusted and untrusted


@pytest.mark.parametrize("name", real_tokenizers.SETTINGS)
def test_llama_cpp_gives_the_ids_of_the_real_tokenizer(name, tmp_path):
    if not (CACHE / f"tokenizer-{name}").exists():
        pytest.skip("python -m benchmarks.real_tokenizers has not been run here")
    assert real_tokenizers.compared(CACHE, name, tmp_path) == TEXTS
