"""Qwen3, dense: grouped-query attention with norms on q and k, and no biases."""

from convert.decoder import Decoder

ARCHITECTURE = Decoder(name="qwen3", head_norms=True, refused=("attention_bias", "use_sliding_window"))
