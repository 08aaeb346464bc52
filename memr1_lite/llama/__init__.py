"""llama.cpp behind one door: loading, tokenising, decoding under an output template.

Nothing here loads the shared library until :meth:`LlamaModel.load` is called.
"""

from memr1_lite.llama.model import LlamaModel
from memr1_lite.llama.process import ProcessModel
from memr1_lite.llama.vocabulary import cut_apart

__all__ = ["LlamaModel", "ProcessModel", "cut_apart"]
