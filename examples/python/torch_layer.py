"""A layer of PyTorch with sliding-window attention, trained for some steps, then compiled.

    python torch_layer.py [TOKENS]
"""

import sys

import torch
from torch import nn

import longspan.torch


class WindowAttention(nn.Module):
    """Self-attention in which a token sees `window` tokens to each side; time grows with tokens."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        batch, tokens, width = x.shape
        # (batch, heads, tokens, head size), three times: views, not copies.
        q, k, v = self.qkv(x).view(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        y = longspan.torch.window_attention(q, k, v, left=self.window, right=self.window,
                                            key_mask=mask)
        return self.out(y.transpose(1, 2).reshape(batch, tokens, width))


def main(arguments: list[str]) -> None:
    tokens = int(arguments[0]) if arguments else 4096
    torch.manual_seed(1)
    layer = WindowAttention(width=64, heads=4, window=4)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=1e-2)
    x = torch.randn(1, tokens, 64)
    # Each token learns the mean of its window: 9 tokens.
    wanted = nn.functional.avg_pool1d(x.transpose(1, 2), 9, stride=1, padding=4).transpose(1, 2)
    for step in range(20):
        loss = (layer(x) - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        print(f"step {step + 1}: loss {loss.item():.4f}")
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    print(f"compiled, the same: {torch.equal(compiled(x), layer(x))}")


if __name__ == "__main__":
    main(sys.argv[1:])
