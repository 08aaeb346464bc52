"""The reference trainer: a world with a known truth, supervised training, evaluation through the SDK."""
