"""Llama 3.x (3, 3.1, 3.2, 3.3): grouped-query attention; rope on neighbouring pairs, so q and k are reordered."""

from convert.decoder import Decoder

ARCHITECTURE = Decoder(name="llama", paired_rope=True, biased="attention_bias", refused=("mlp_bias",))
