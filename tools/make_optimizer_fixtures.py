#!/usr/bin/env python3
"""Records what torch's optimizers make of small tensors.

usage: make_optimizer_fixtures.py OUTPUT      needs torch and safetensors

Weights and gradients are drawn from a seed as float32. The updates are computed in float64, so that
no rounding habit of torch stands in a case, and stored as float64. Gradients of different updates
have very different sizes. Options of AdamW and SGD, which take them as float32 here, are sums of
few powers of two. A case has CASE.before, CASE.gradients (10, ...), and CASE.after_1 and
CASE.after_10, the weights after one and ten updates.
"""
import sys

import torch
from safetensors.torch import save_file

UPDATES = 10
EPS = torch.finfo(torch.float32).eps  # what torch.optim.Adafactor takes for float32 parameters
CASES = {
    "adamw": ((5, 7), torch.optim.AdamW,
              {"lr": 0.03125, "betas": (0.875, 0.984375), "eps": 2.0**-27, "weight_decay": 0.125}),
    "adafactor.matrix": ((5, 37), torch.optim.Adafactor, {"lr": 0.01, "eps": (EPS, 1e-3)}),
    # A rate that 1 / sqrt(step) bounds, and decay.
    "adafactor.decayed": ((40, 3), torch.optim.Adafactor,
                          {"lr": 0.5, "eps": (EPS, 1e-3), "weight_decay": 0.1}),
    "adafactor.clipped": ((6, 5), torch.optim.Adafactor,
                          {"lr": 0.1, "eps": (EPS, 1e-3), "d": 1.5, "beta2_decay": -0.5}),
    "adafactor.cube": ((2, 3, 4), torch.optim.Adafactor, {"lr": 0.1, "eps": (EPS, 1e-3)}),
    "adafactor.vector": ((19,), torch.optim.Adafactor, {"lr": 0.1, "eps": (EPS, 1e-3)}),
    "sgd.plain": ((19,), torch.optim.SGD, {"lr": 0.0625, "weight_decay": 0.125}),
    "sgd.momentum": ((5, 7), torch.optim.SGD, {"lr": 0.0625, "momentum": 0.875, "weight_decay": 0.125}),
    "sgd.nesterov": ((5, 7), torch.optim.SGD, {"lr": 0.0625, "momentum": 0.75, "nesterov": True}),
}


def main(output):
    generator = torch.Generator().manual_seed(1)
    tensors = {}
    for name, (shape, kind, options) in CASES.items():
        before = torch.randn(shape, generator=generator)
        gradients = torch.randn((UPDATES, *shape), generator=generator)
        for update in range(UPDATES):
            gradients[update] *= 10.0 if update % 3 == 2 else 0.01
        weights = torch.nn.Parameter(before.double())
        optimizer = kind([weights], **options)
        tensors[f"{name}.before"] = before
        tensors[f"{name}.gradients"] = gradients
        for update in range(UPDATES):
            weights.grad = gradients[update].double()
            optimizer.step()
            if update + 1 in (1, UPDATES):
                tensors[f"{name}.after_{update + 1}"] = weights.detach().clone()
    save_file(tensors, output)
    print(f"torch {torch.__version__}: {len(CASES)} cases in {output}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
