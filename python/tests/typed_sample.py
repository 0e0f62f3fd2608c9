"""Code of a user, which must pass mypy --strict. No test runs it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

import longspan

q: npt.NDArray[np.float32] = np.zeros((1, 2, 16, 8), np.float32)
out: npt.NDArray[np.float32] = longspan.full_attention(q, q, q, causal=True)
out, pullback = longspan.window_attention_vjp(q, q, q, left=4, right=4)
dq, dk, dv = pullback(out)
total: float = float(dq.sum() + dk.sum() + dv.sum())
lse: npt.NDArray[np.float32] = longspan.chunked_attention(q, q, q, chunk=8, return_lse=True)[1]
positions: npt.NDArray[np.float32] = longspan.axial_positions(q[0, 0], q[0, 0], 8)
longspan.set_threads(2)
threads: int = longspan.get_threads()
try:
    longspan.lsh_attention(q, q, rounds=2, seed=3)
except longspan.UsageError as error:
    code: int = error.code
version: str = longspan.__version__


def by_the_names_of_the_program() -> None:
    longspan.init_model("new", arch="bert", preset="tiny", labels="yes,no")
    longspan.convert("new", "long", to="longformer", max_pos=1024, max_shard_size="1M")
    longspan.train("classify", "long", "run", train="a.csv", lr=1e-4, head_lr=1e-3,
                   max_time="10m", text_column="review", progress="plain", global_="first:1")
    model = longspan.load("run", memory="4G", tokens=512)
    label: str = model.classify("a text", top=3).label
    print(label, longspan.evaluate("run", "b.csv", label_column="kind", max_line_bytes="1M"))
