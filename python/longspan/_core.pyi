"""The kernels of longspan. Private: use longspan and longspan.torch."""

from collections.abc import Sequence


def axial_forward(table0: object, table1: object, out: object, start: int, threads: int) -> None:
    """Adds to out (T, D0 + D1)."""

def axial_backward(table0: object, table1: object, dout: object, dtable0: object, dtable1: object, start: int, threads: int) -> None:
    """Adds to dtable0 and dtable1."""

def chunked_forward(q: object, k: object, v: object, key_mask: object | None, out: object, lse: object, chunk: int, before: int, after: int, causal: bool, scale: float, dropout: float, dropout_key: int, threads: int) -> None:
    """Writes out (B, H, T, D) and lse (B, H, T)."""

def chunked_backward(q: object, k: object, v: object, key_mask: object | None, out: object, lse: object, dout: object, dq: object, dk: object, dv: object, chunk: int, before: int, after: int, causal: bool, scale: float, dropout: float, dropout_key: int, threads: int) -> None:
    """Adds to dq, dk and dv, which are float32."""

def full_forward(q: object, k: object, v: object, key_mask: object | None, sinks: object | None, out: object, lse: object, causal: bool, scale: float, dropout: float, dropout_key: int, threads: int) -> None:
    """Writes out (B, H, T, D) and lse (B, H, T)."""

def full_backward(q: object, k: object, v: object, key_mask: object | None, sinks: object | None, out: object, lse: object, dout: object, dq: object, dk: object, dv: object, dsinks: object | None, causal: bool, scale: float, dropout: float, dropout_key: int, threads: int) -> None:
    """Adds to dq, dk, dv and dsinks, which are float32."""

def lsh_bucket_factors(tokens: int, chunk: int, max_positions: int) -> list[int]:
    """Hugging Face's rule for num_buckets."""

def lsh_rotation_columns(factors: Sequence[int]) -> int:
    """Columns of the rotations of one round."""

def torch_normal(seed: int, out: object) -> None:
    """What torch.manual_seed(seed); torch.randn(shape) gives."""

def lsh_hash(qk: object, key_mask: object | None, rotations: object, buckets: object, chunk: int, before: int, after: int, rounds: int, factors: Sequence[int], threads: int) -> None:
    """Writes buckets (B, H, R, T), uint16."""

def lsh_forward(qk: object, v: object, key_mask: object | None, buckets: object | None, out: object, max: object, sum: object, chunk: int, before: int, after: int, rounds: int, factors: Sequence[int], causal: bool, dropout: float, dropout_key: int, threads: int) -> None:
    """Writes out (B, H, T, D), max and sum (B, H, T)."""

def lsh_backward(qk: object, v: object, key_mask: object | None, buckets: object | None, out: object, max: object, sum: object, dout: object, dqk: object, dv: object, chunk: int, before: int, after: int, rounds: int, factors: Sequence[int], causal: bool, dropout: float, dropout_key: int, threads: int) -> None:
    """Adds to dqk and dv, which are float32."""

HIDDEN: int = 0

LOCAL: int = 1

GLOBAL: int = 2

def window_forward(q: object, k: object, v: object, roles: object | None, sinks: object | None, out: object, lse: object, left: int, right: int, causal: bool, dilation: Sequence[int], scale: float, dropout: float, dropout_key: int, threads: int) -> None:
    """Writes the rows of local tokens of out (B, H, T, D) and lse (B, H, T)."""

def window_backward(q: object, k: object, v: object, roles: object | None, sinks: object | None, out: object, lse: object, dout: object, dq: object, dk: object, dv: object, dsinks: object | None, left: int, right: int, causal: bool, dilation: Sequence[int], scale: float, dropout: float, dropout_key: int, threads: int) -> None:
    """Adds to dq, dk, dv and dsinks, which are float32."""

def global_forward(global_q: object, global_k: object, global_v: object, roles: object, out: object, lse: object, left: int, right: int, causal: bool, scale: float, dropout: float, dropout_key: int, threads: int) -> None:
    """Writes the rows of global tokens: global_q is (B, H, G, D)."""

def global_backward(global_q: object, global_k: object, global_v: object, roles: object, out: object, lse: object, dout: object, dglobal_q: object, dglobal_k: object, dglobal_v: object, left: int, right: int, causal: bool, scale: float, dropout: float, dropout_key: int, threads: int) -> None:
    """Adds to the gradients, float32."""

def reassociated_forward(x: object, global_q: object, key_weight: object, value_weight: object, key_bias: object | None, value_bias: object | None, roles: object, out: object, lse: object, left: int, right: int, causal: bool, scale: float, dropout: float, dropout_key: int, threads: int) -> None:
    """
    global_forward with keys and values that are projections of x (B, T, C).
    """

def reassociated_backward(x: object, global_q: object, key_weight: object, value_weight: object, key_bias: object | None, value_bias: object | None, roles: object, out: object, lse: object, dout: object, dx: object, dglobal_q: object, dkey_weight: object, dvalue_weight: object, dvalue_bias: object | None, left: int, right: int, causal: bool, scale: float, dropout: float, dropout_key: int, threads: int) -> None:
    """Adds to the gradients, float32."""

def reassociated_wins(tokens: int, channels: int, heads: int, head_size: int, globals: int, backward: bool) -> bool:
    """
    Whether reassociated_forward is less work than projections and global_forward.
    """

VERSION: str = '0.2.0'

def set_threads(threads: int) -> None:
    """Sets the threads of calls that name none; 0: the default."""

def threads() -> int:
    """What set_threads was given; 0: the default."""

def used_threads(threads: int) -> int:
    """The threads that a call with this number uses at most."""

def after_fork() -> None:
    """Tells the module that it is in a forked child."""

def kernel_isa() -> str:
    """The instruction set that kernels use."""

def kernel_bf16() -> str:
    """How kernels multiply bf16."""

def runnable_isas() -> list[str]:
    """What this machine can run, lowest first."""
