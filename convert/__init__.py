"""A checkpoint folder becomes a GGUF file: ``to_gguf``, ``quantize``, ``check``, each a function and a command."""
