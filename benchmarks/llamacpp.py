"""llama.cpp's sources, as the source distribution of llama-cpp-python has them; pip fetches it once, into a cache.

Nothing of them is in this repository: what is measured beside them runs from there.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

SDIST = "llama-cpp-python==0.3.36"
CACHE = Path(".cache/llama.cpp")
CHATML = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Qwen2's chat template, without its system prompt."""
NEEDED = (
    "convert_hf_to_gguf.py",
    "convert_lora_to_gguf.py",
    "conversion/",
    "gguf-py/",
    "models/ggml-vocab-qwen2.",
    "models/ggml-vocab-llama-bpe.",
)


def sources(cache: Path) -> Path:
    """The folder of llama.cpp's converter and of its vocabularies without weights, in ``cache``."""
    target = cache / "llama.cpp"
    if not target.exists():
        cache.mkdir(parents=True, exist_ok=True)
        if not list(cache.glob("llama_cpp_python-*.tar.gz")):
            pip = [sys.executable, "-m", "pip", "download", "--no-binary", "llama-cpp-python", "--no-deps"]
            subprocess.run([*pip, "--dest", str(cache), SDIST], check=True, stdout=sys.stderr)
        (archive,) = cache.glob("llama_cpp_python-*.tar.gz")
        with tempfile.TemporaryDirectory(dir=cache) as folder, tarfile.open(archive) as tar:
            for entry in tar:
                _, found, path = entry.name.partition("/vendor/llama.cpp/")
                if found and entry.isfile() and path.startswith(NEEDED):
                    entry.name = f"new/{path}"
                    tar.extract(entry, folder, filter="data")
            os.rename(Path(folder) / "new", target)
    return target


def vocabulary_file(cache: Path, name: str) -> Path:
    """A GGUF file with the vocabulary ``name`` (``qwen2``, ``llama-bpe``) and no weights."""
    return sources(cache) / "models" / f"ggml-vocab-{name}.gguf"


def their_command(
    cache: Path, script: str, source: Path, target: Path, outtype: str
) -> tuple[list[str], dict[str, str]]:
    """A command line of llama.cpp's converter, and its environment.

    It needs torch and transformers, as the tests do, and sentencepiece, which gets a folder of its own in ``cache``.
    """
    needed = cache / "site-packages"
    if not needed.exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(needed), "sentencepiece"]
        subprocess.run(pip, check=True, stdout=sys.stderr)
    command = [sys.executable, str(sources(cache) / script), str(source), "--outfile", str(target)]
    return [*command, "--outtype", outtype.lower()], os.environ | {"PYTHONPATH": str(needed.resolve())}
