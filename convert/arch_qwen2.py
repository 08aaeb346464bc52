"""Qwen2 and Qwen2.5: grouped-query attention with biases on q, k and v."""

from convert.decoder import Decoder

ARCHITECTURE = Decoder(name="qwen2", biases=("q_proj", "k_proj", "v_proj"), refused=("use_sliding_window",))
