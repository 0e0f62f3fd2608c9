"""What the comparisons with `transformers` share. Needs torch and transformers."""
import json
import subprocess

import torch
import transformers
from safetensors.torch import save_file


def quiet():
    transformers.logging.disable_progress_bar()
    transformers.logging.set_verbosity_error()


def run(program, *arguments):
    """What the program prints; raises when it fails."""
    return subprocess.run([program, *map(str, arguments)], check=True, capture_output=True,
                          text=True, errors="replace").stdout


def open_all(class_name, folder, **options):
    """The model, and the keys that it missed or did not expect: nothing, where all is well."""
    model, info = getattr(transformers, class_name).from_pretrained(
        folder, output_loading_info=True, **options)
    return model.eval(), {key: sorted(value) for key, value in info.items() if value}


def perturb(model, deviation=0.05):
    """Moves every parameter away from its initial value: one that goes unused shows."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(deviation * torch.randn_like(parameter))


def record(path, inputs, expected, others=None):
    """A parity case as golden/PROVENANCE.md has it: what `longspan verify --case` reads."""
    tensors = {f"input.{name}": value for name, value in inputs.items()}
    tensors.update({f"expected.{name}": value.float() for name, value in expected.items()})
    tensors.update({name: value.float() for name, value in (others or {}).items()})
    save_file({name: value.contiguous().clone() for name, value in tensors.items()}, path)


def verify(program, folder, case, *options):
    """`longspan verify`: whether the case holds, and the largest difference of each tensor."""
    result = subprocess.run([program, "verify", folder, "--case", case, "--json", *options],
                            capture_output=True, text=True)
    if result.returncode > 1:
        raise SystemExit(result.stderr)
    report = json.loads(result.stdout)
    return report["ok"], {tensor["name"]: tensor["max_abs"] for tensor in report["tensors"]}
