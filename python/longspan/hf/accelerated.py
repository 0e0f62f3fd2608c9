"""accelerate(model): Hugging Face's models with long inputs of their own, on longspan's kernels.

Longformer, the encoder of LED, and Reformer compute their attention in their own modules, which
know no ``attn_implementation``. ``accelerate`` gives these modules another class, in place: the
parameters, their names and everything that holds the modules stay as they are, so checkpoints,
trainers, adapters and gradient checkpointing do not notice.
"""

from __future__ import annotations

import importlib
import warnings
from typing import TypeVar

import torch
from torch import nn

from longspan._errors import DTypeError, UsageError

_Model = TypeVar("_Model", bound=nn.Module)

# Classes of transformers, and the module with ours, which have the same names. They are looked up
# by name so that only the kinds of models that a process has are imported.
_FAMILIES = {
    "transformers.models.longformer.modeling_longformer": "longspan.hf.longformer",
    "transformers.models.led.modeling_led": "longspan.hf.longformer",
    "transformers.models.reformer.modeling_reformer": "longspan.hf.reformer",
}
_ATTENTION = ("LongformerSelfAttention", "LEDEncoderSelfAttention", "LSHSelfAttention",
              "LocalSelfAttention")
# Their forward builds masks that grow with the square of the input; they hold attention modules.
_AROUND = ("LongformerModel", "LEDEncoder")


def accelerate(model: _Model) -> _Model:
    """Lets a Longformer, LED or Reformer of Hugging Face attend with longspan's kernels.

        model = AutoModelForSequenceClassification.from_pretrained("allenai/longformer-base-4096")
        longspan.hf.accelerate(model)

    Outputs and gradients are those of the original up to rounding, in evaluation and in training.
    Dropout of attention weights has the same distribution, with other random numbers. A Longformer
    is not padded to a multiple of its window, and needs no mask of tokens times tokens. Of LED the
    encoder changes, the decoder has dense attention of its own. Calls with
    ``output_attentions=True`` and later tokens of a Reformer's ``generate`` are computed by
    transformers' own code.

    Args:
      model: any torch.nn.Module that holds such a model, on the CPU, in float32 or bfloat16. It is
        changed in place. Calling this again changes nothing.

    Returns:
      ``model`` itself.

    Raises:
      UsageError: (a ValueError) nothing in the model can be accelerated.
      DTypeError: (a TypeError) parameters are on another device, or have another type.
    """
    found = [(name, module) for name, module in model.named_modules() if _is_theirs(module)]
    if not any(type(module).__name__ in _ATTENTION and (_is_theirs(module) or _is_ours(module))
               for module in model.modules()):
        raise UsageError(
            f"accelerate: {type(model).__name__} has no attention of Longformer, LED or Reformer; "
            "for models that take attn_implementation call longspan.hf.register() and load them "
            'with attn_implementation="longspan"')
    for name, module in found:
        _check_parameters(name, module)
    if found and getattr(getattr(model, "config", None), "output_attentions", False):
        warnings.warn("accelerate: the model's config has output_attentions=True, and attention "
                      "weights are computed by transformers' own code: set it to False to use "
                      "longspan", UserWarning, stacklevel=2)
    for _, module in found:
        family = importlib.import_module(_FAMILIES[type(module).__module__])
        module.__class__ = getattr(family, type(module).__name__)
    return model


def restore(model: _Model) -> _Model:
    """Undoes ``accelerate``: gives the modules of ``model`` their original classes.

    Returns:
      ``model`` itself, which has changed in place. A model that was not accelerated stays as it is.
    """
    for module in model.modules():
        if _is_ours(module):
            module.__class__ = next(kind for kind in type(module).__mro__
                                    if kind.__module__ in _FAMILIES)
    return model


def _is_theirs(module: nn.Module) -> bool:
    kind = type(module)
    return kind.__module__ in _FAMILIES and kind.__name__ in _ATTENTION + _AROUND


def _is_ours(module: nn.Module) -> bool:
    kind = type(module)
    return kind.__module__ in _FAMILIES.values() and kind.__name__ in _ATTENTION + _AROUND


def _check_parameters(name: str, module: nn.Module) -> None:
    if type(module).__name__ in _AROUND:
        return
    for part, tensor in module.named_parameters():
        where = f"accelerate: {name}.{part}" if name else f"accelerate: {part}"
        if tensor.device.type != "cpu":
            hint = ("load the weights first" if tensor.device.type == "meta"
                    else "longspan computes on the CPU; move the model with .cpu() first")
            raise DTypeError(f"{where} is on the device '{tensor.device}'; {hint}")
        if tensor.is_floating_point() and tensor.dtype not in (torch.float32, torch.bfloat16):
            raise DTypeError(f"{where} has elements of type {tensor.dtype}; convert the model with "
                             ".float() or .bfloat16() first")
