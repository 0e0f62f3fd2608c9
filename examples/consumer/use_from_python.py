"""longspan from Python, through nothing but the C interface: the two texts' likeness.

usage: use_from_python.py MODEL TEXT TEXT
liblongspan.so is found as the system finds libraries: LD_LIBRARY_PATH, ldconfig.
"""
import ctypes
import math
import sys


class Options(ctypes.Structure):
    """longspan_load_options."""
    _fields_ = [("size", ctypes.c_size_t), ("bf16", ctypes.c_int),
                ("allow_nonfinite", ctypes.c_int), ("max_tokens", ctypes.c_int64)]


library = ctypes.CDLL("liblongspan.so")
for name in ("longspan_version", "longspan_last_error", "longspan_model_class"):
    getattr(library, name).restype = ctypes.c_char_p
for name in ("longspan_context_free", "longspan_model_free", "longspan_model_class"):
    getattr(library, name).argtypes = [ctypes.c_void_p]


def check(status):
    if status != 0:
        raise RuntimeError(library.longspan_last_error().decode())


class Model:
    """A loaded model and a context: for one thread."""

    def __init__(self, folder, threads=0):
        self.context, self.model = ctypes.c_void_p(), ctypes.c_void_p()
        options = Options(ctypes.sizeof(Options))
        check(library.longspan_context_new(threads, ctypes.byref(self.context)))
        check(library.longspan_model_load(folder.encode(), ctypes.byref(options),
                                          ctypes.byref(self.model)))

    def __del__(self):
        library.longspan_model_free(self.model)
        library.longspan_context_free(self.context)

    def embed(self, texts):
        """Vectors of texts: a list of lists of floats."""
        width = ctypes.c_int64()
        check(library.longspan_embedding_width(self.model, ctypes.byref(width)))
        encoded = [text.encode() for text in texts]
        pointers = (ctypes.c_char_p * len(texts))(*encoded)
        lengths = (ctypes.c_size_t * len(texts))(*map(len, encoded))
        vectors = (ctypes.c_float * width.value * len(texts))()
        check(library.longspan_embed(self.context, self.model, pointers, lengths,
                                     ctypes.c_size_t(len(texts)), vectors))
        return [list(vector) for vector in vectors]


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit("usage: use_from_python.py MODEL TEXT TEXT")
    try:
        a, b = Model(sys.argv[1]).embed(sys.argv[2:])
    except RuntimeError as error:
        sys.exit(f"use_from_python: {error}")
    dot = sum(x * y for x, y in zip(a, b))
    print(f"longspan {library.longspan_version().decode()}: the cosine of the two texts is "
          f"{dot / math.hypot(*a) / math.hypot(*b):.6f}")
