"""Long-term memory for an assistant, on the user's own machine."""

__version__ = "0.1.0"
