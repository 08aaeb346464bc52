"""Measure a memory honestly, on your own machine, with your own GGUF: metrics, benchmark files, baselines, runners."""
