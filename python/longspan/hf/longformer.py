"""Longformer's attention, and that of LED's encoder, on longspan's kernels.

The classes here have the names of those of transformers that they derive from, so that code which
goes by names (model cards, wrapping policies, losses) finds what it expects.

Source: Beltagy, Peters, Cohan 2020, "Longformer: The Long-Document Transformer", section 3.
"""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from longspan import HIDDEN, LOCAL, _core
from longspan._runtime import wanted_threads
from longspan.hf import records
from longspan.hf._modules import dropout_key, heads_of, joined, with_global
from longspan.torch import _kernels, window_attention

_longformer: Any = importlib.import_module("transformers.models.longformer.modeling_longformer")
_led: Any = importlib.import_module("transformers.models.led.modeling_led")


class _Settings(NamedTuple):
    width: int       # keys on each side of a query
    dropout: float
    key: int         # of dropout's random numbers

    def arguments(self) -> tuple[float, float, int, int]:
        """The kernels' last arguments from scale on."""
        return 0.0, self.dropout, self.key, wanted_threads()


class _FewGlobalTokens(torch.autograd.Function):
    """Local rows from projections, global rows from the hidden states themselves.

    Keys and values of global rows are x wk^T + bk and x wv^T + bv, which are never computed: that
    is less work for a few global tokens. All rows are written into one tensor.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, gq: Tensor, x: Tensor, wk: Tensor,
                bk: Tensor | None, wv: Tensor, bv: Tensor | None, roles: Tensor,
                settings: _Settings) -> Tensor:
        out, lse = _kernels.outputs(q)
        width = settings.width
        _core.window_forward(q, k, v, roles, None, out, lse, width, width, False, [],
                             *settings.arguments())
        _core.reassociated_forward(x, gq, wk, wv, bk, bv, roles, out, lse, width, width, False,
                                   *settings.arguments())
        ctx.save_for_backward(q, k, v, gq, x, wk, bk, wv, bv, roles, out, lse)
        ctx.settings = settings
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dout: Tensor) -> Any:
        q, k, v, gq, x, wk, bk, wv, bv, roles, out, lse = ctx.saved_tensors
        settings, width, dout = ctx.settings, ctx.settings.width, _kernels.ready_gradient(dout)
        local: list[Tensor | None] = [None] * 3
        rows: list[Tensor | None] = [None] * 6
        if any(ctx.needs_input_grad[:3]):
            dq, dk, dv = (_kernels.gradient_of(tensor) for tensor in (q, k, v))
            _core.window_backward(q, k, v, roles, None, out, lse, dout, dq, dk, dv, None, width,
                                  width, False, [], *settings.arguments())
            local = [_kernels.rounded(total, q) for total in (dq, dk, dv)]
        if any(ctx.needs_input_grad[3:9]):
            dgq, dx, dwk, dwv = (_kernels.gradient_of(tensor) for tensor in (gq, x, wk, wv))
            dbv = _kernels.optional_gradient(bv)
            _core.reassociated_backward(x, gq, wk, wv, bk, bv, roles, out, lse, dout, dx, dgq, dwk,
                                        dwv, dbv, width, width, False, *settings.arguments())
            # bk adds the same to all scores of a row, which softmax does not see.
            dbk = _kernels.optional_gradient(bk)
            rows = [_kernels.rounded(dgq, gq), _kernels.rounded(dx, x), dwk, dbk, dwv, dbv]
        return *local, *rows, None, None


def _is_plain(projection: Any) -> bool:
    """Whether calling it is nothing but x W^T + b with the weights that it shows: no adapter, no
    quantized weights, no hooks, no forward of its own."""
    return (type(projection) is nn.Linear and type(projection.weight) is nn.Parameter
            and "forward" not in vars(projection)
            and not any(getattr(projection, hooks) for hooks in (
                "_forward_hooks", "_forward_pre_hooks", "_backward_hooks",
                "_backward_pre_hooks")))


def _rows_of_global_tokens(x: Tensor, is_global: Tensor) -> Tensor:
    """(B, G, C): row g is that of the g-th global token; rows beyond a count repeat some token."""
    most = int(is_global.sum(1).max())
    order = torch.argsort(is_global.to(torch.uint8), dim=1, descending=True, stable=True)
    return x.gather(1, order[:, :most, None].expand(-1, -1, x.shape[2]))


def _without_global_tokens(module: Any, x: Tensor, masked: Tensor | None,
                           dropout: float) -> Tensor:
    q, k, v = _local_projections(module, x)
    width = module.one_sided_attn_window_size
    return joined(window_attention(q, k, v, left=width, right=width, dropout=dropout,
                                   key_mask=None if masked is None else ~masked))


# The number of global tokens decides what is computed, and a compiler does not know it.
@torch.compiler.disable  # type: ignore[untyped-decorator]
def _with_global_tokens(module: Any, x: Tensor, masked: Tensor | None, is_global: Tensor,
                        dropout: float) -> Tensor:
    heads, size = module.num_heads, module.head_dim
    roles = is_global.to(torch.uint8) + LOCAL
    if masked is not None:
        roles.masked_fill_(masked, HIDDEN)
    rows = _rows_of_global_tokens(x, is_global)
    if rows.shape[1] == 0:
        return _without_global_tokens(module, x, masked, dropout)
    q, k, v = _local_projections(module, x)
    gq = heads_of(module, module.query_global(rows), heads, size)
    width = module.one_sided_attn_window_size
    to_key, to_value = module.key_global, module.value_global
    needs_gradient = torch.is_grad_enabled() and (
        x.requires_grad or any(weight.requires_grad for weight in module.parameters()))
    if _is_plain(to_key) and _is_plain(to_value) and _core.reassociated_wins(
            x.shape[1], x.shape[2], heads, size, rows.shape[1], needs_gradient):
        settings = _Settings(width, dropout, int(dropout_key()) if dropout > 0.0 else 0)
        # The weights of this form are float32, the hidden states are of the projections' type,
        # which autocast may have chosen.
        biases = [None if bias is None else bias.float() for bias in (to_key.bias, to_value.bias)]
        out: Tensor = _FewGlobalTokens.apply(
            q, k, v, gq, _kernels.ready(x.to(q.dtype)), to_key.weight.float(), biases[0],
            to_value.weight.float(), biases[1], roles, settings)
    else:
        gk = heads_of(module, to_key(x), heads, size)
        gv = heads_of(module, to_value(x), heads, size)
        out = window_attention(q, k, v, left=width, right=width, roles=roles,
                               global_qkv=(gq, gk, gv), dropout=dropout)
    return joined(out)


def _local_projections(module: Any, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    heads, size = module.num_heads, module.head_dim
    return (heads_of(module, module.query(x), heads, size),
            heads_of(module, module.key(x), heads, size),
            heads_of(module, module.value(x), heads, size))


class _SelfAttention(nn.Module):
    """The forward of both classes below; a class of transformers comes after it."""

    config: Any
    dropout: float
    one_sided_attn_window_size: int

    def forward(self, hidden_states: Tensor, attention_mask: Tensor | None = None,
                is_index_masked: Tensor | None = None,
                is_index_global_attn: Tensor | None = None, is_global_attn: bool | None = None,
                output_attentions: bool = False) -> tuple[Tensor, ...]:
        """(out (B, T, C),) for hidden states (B, T, C); masks are (B, T), negative where masked
        and positive at global tokens. With output_attentions what transformers computes."""
        if output_attentions:
            records.note(self, "fallback: output_attentions")
            return self._with_weights(hidden_states, attention_mask, is_index_masked,
                                      is_index_global_attn, is_global_attn)
        if attention_mask is not None:
            if is_index_masked is None:
                is_index_masked = attention_mask < 0
            if is_index_global_attn is None:
                is_index_global_attn = attention_mask > 0
        if is_global_attn is None:
            is_global_attn = is_index_global_attn is not None and bool(is_index_global_attn.any())
        dropout = self.dropout if self.training else 0.0
        name = f"window ±{self.one_sided_attn_window_size}"
        if not is_global_attn or is_index_global_attn is None:
            records.note(self, name)
            return (_without_global_tokens(self, hidden_states, is_index_masked, dropout),)
        records.note(self, f"{name}, global tokens")
        if is_index_masked is not None:
            is_index_global_attn = is_index_global_attn & ~is_index_masked
        return (_with_global_tokens(self, hidden_states, is_index_masked, is_index_global_attn,
                                    dropout),)

    def _with_weights(self, hidden_states: Tensor, attention_mask: Tensor | None,
                      is_index_masked: Any, is_index_global_attn: Any,
                      is_global_attn: Any) -> tuple[Tensor, ...]:
        # transformers' own code needs a multiple of the window. It leaves the padding in the
        # weights of global tokens, so this does, too.
        tokens = hidden_states.shape[1]
        windows = self.config.attention_window
        window = windows if isinstance(windows, int) else max(windows)
        pad = -tokens % window
        if pad and attention_mask is not None:
            hidden_states = nn.functional.pad(hidden_states, (0, 0, 0, pad))
            attention_mask = nn.functional.pad(attention_mask, (0, pad),
                                               value=torch.finfo(attention_mask.dtype).min)
            is_index_masked = attention_mask < 0
            is_index_global_attn = attention_mask > 0
        out, *weights = super().forward(
            hidden_states, attention_mask=attention_mask, is_index_masked=is_index_masked,
            is_index_global_attn=is_index_global_attn, is_global_attn=is_global_attn,
            output_attentions=True)
        if pad:
            out, weights[0] = out[:, :tokens], weights[0][:, :tokens]
        return (out, *weights)

    def extra_repr(self) -> str:
        return "kernels=longspan"


class LongformerSelfAttention(_SelfAttention,
                              _longformer.LongformerSelfAttention):  # type: ignore[misc]
    """Longformer's attention."""


class LEDEncoderSelfAttention(_SelfAttention, _led.LEDEncoderSelfAttention):  # type: ignore[misc]
    """The attention of LED's encoder."""


def _mask_of_one_row(config: Any, inputs_embeds: Tensor, attention_mask: Tensor | None = None,
                     **arguments: Any) -> Any:
    """create_bidirectional_mask for a caller that looks at one row of it: (B, 1, 1, T)."""
    if attention_mask is None or attention_mask.dim() != 2:
        return _longformer.create_bidirectional_mask(
            config=config, inputs_embeds=inputs_embeds, attention_mask=attention_mask, **arguments)
    mask = inputs_embeds.new_zeros(attention_mask.shape)
    mask.masked_fill_(~attention_mask.to(torch.bool), torch.finfo(mask.dtype).min)
    return mask[:, None, None, :]


def _inverted_mask_of_one_row(mask: Tensor, dtype: torch.dtype, tgt_len: int | None = None) -> Any:
    return _led._prepare_4d_attention_mask_inverted(mask, dtype, tgt_len=1)


class LongformerModel(_longformer.LongformerModel):  # type: ignore[misc]
    """A Longformer that builds no mask of tokens times tokens, and does not pad."""

    forward = with_global(_longformer.LongformerModel.forward, "create_bidirectional_mask",
                          _mask_of_one_row)

    def _pad_to_window_size(self, input_ids: Any, attention_mask: Any, token_type_ids: Any,
                            position_ids: Any, inputs_embeds: Any, pad_token_id: Any) -> Any:
        return 0, input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds


class LEDEncoder(_led.LEDEncoder):  # type: ignore[misc]
    """LED's encoder without a mask of tokens times tokens, and without padding."""

    forward = with_global(_led.LEDEncoder.forward, "_prepare_4d_attention_mask_inverted",
                          _inverted_mask_of_one_row)

    def _pad_to_window_size(self, input_ids: Any, attention_mask: Any, inputs_embeds: Any,
                            pad_token_id: Any) -> Any:
        return 0, input_ids, attention_mask, inputs_embeds
