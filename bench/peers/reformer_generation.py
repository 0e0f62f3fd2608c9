#!/usr/bin/env python3
"""What `longspan generate` writes, beside the cached generation of `transformers`.

usage: reformer_generation.py PROGRAM

Needs an environment with torch and transformers:
  python3 -m venv venv && venv/bin/pip install torch transformers safetensors
Where the original's cache is right (one text, a hash_seed, a number of buckets, a prompt within a
chunk or of whole chunks; docs/reference/generation.md has what goes wrong elsewhere) both take the likeliest
byte each time, from models with large random weights: the texts must be the same, byte for byte,
over many chunks. Both compute in float32, so a step in which two bytes are less than 1e-3 apart may
end the comparison; such a text must still be the same up to there. Then beam searches, whose scores
must be within 1e-3. Prints one line a model; exits 1 when one differs.
"""
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
import transformers

from peers import quiet

SIZES = {"vocab_size": 258, "hidden_size": 64, "num_attention_heads": 3, "attention_head_size": 16,
         "feed_forward_size": 96, "local_attn_chunk_length": 16, "lsh_attn_chunk_length": 16,
         "axial_pos_shape": (16, 32), "axial_pos_embds_dim": (16, 48), "is_decoder": True,
         "max_position_embeddings": 512, "hidden_dropout_prob": 0.0, "pad_token_id": 0,
         "local_attention_probs_dropout_prob": 0.0, "lsh_attention_probs_dropout_prob": 0.0,
         "eos_token_id": 1, "architectures": ["ReformerModelWithLMHead"]}
MIXED = ["local", "lsh", "local", "lsh"]
CASES = [({"attn_layers": ["local"] * 3}, 48), ({"attn_layers": ["local"] * 3}, 5)]
CASES += [({"attn_layers": MIXED, "num_hashes": rounds, "num_buckets": buckets}, prompt)
          for rounds in (1, 2, 4) for buckets in (8, [4, 4]) for prompt in (5, 48, 128)]
CASES += [({"attn_layers": MIXED, "num_hashes": 2, "num_buckets": 8,
            "lsh_num_chunks_before": before}, 48) for before in (0, 2)]
NEW, OFFSET, CLOSE = 200, 2, 1e-3


def original(model, prompt):
    """The bytes that `transformers` writes, and where two of them were first close."""
    ids = torch.tensor([[byte + OFFSET for byte in prompt]])
    past, written, close = None, b"", None
    with torch.no_grad():
        while len(written) < NEW:
            out = model(input_ids=ids, past_buckets_states=past, use_cache=True)
            past = out.past_buckets_states
            best, which = out.logits[0, -1, 1:].topk(2)
            if close is None and best[0] - best[1] < CLOSE:
                close = len(written)
            token = int(which[0]) + 1
            if token < OFFSET:  # end of text
                break
            written += bytes([token - OFFSET])
            ids = torch.tensor([[token]])
    return written, close


def random_model(changes, seed):
    torch.manual_seed(seed)
    settings = transformers.ReformerConfig(**SIZES, hash_seed=seed, **changes)
    model = transformers.ReformerModelWithLMHead(settings).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() >= 2 and "position" not in name:
                parameter.copy_(0.12 * torch.randn_like(parameter))
    return model


def generate(program, model, prompt, *options):
    """The bytes that the program writes behind a prompt, or its JSON."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        file = Path(folder, "prompt")
        file.write_bytes(prompt)
        command = [program, "generate", "-m", folder, "-f", file, "--no-stream", *options]
        shown = subprocess.run(command, check=True, capture_output=True).stdout
    return json.loads(shown) if "--json" in options else shown[len(prompt):-1]


def random_prompt(length):
    return bytes(torch.randint(97, 123, (length,)).tolist())


def compare(program, changes, length, seed):
    model = random_model(changes, seed)
    prompt = random_prompt(length)
    here = generate(program, model, prompt, "--tokens", str(NEW), "--temp", "0")
    there, close = original(model, prompt)
    same = next((i for i, (a, b) in enumerate(zip(here, there)) if a != b),
                min(len(here), len(there)))
    right = here == there or (close is not None and same >= close)
    print(f"{'ok' if right else 'DIFFERS':8} {same:4} of {len(there)} bytes the same, "
          f"{len(set(there))} distinct; prompt {length}, {changes}")
    return right


def compare_beams(program, penalty, seed):
    """Local layers: with several beams the original mixes up the rows of LSH layers."""
    model = random_model({"attn_layers": ["local"] * 3}, seed)
    prompt = random_prompt(48)
    out = model.generate(torch.tensor([[byte + OFFSET for byte in prompt]]), num_beams=4,
                         max_new_tokens=40, do_sample=False, length_penalty=penalty,
                         early_stopping=False, suppress_tokens=[0], num_return_sequences=4,
                         return_dict_in_generate=True, output_scores=True)
    found = generate(program, model, prompt, "--tokens", "40", "--beams", "4", "--length-penalty",
                     str(penalty), "--json")
    apart = max(abs(float(there) - here["score"])
                for there, here in zip(out.sequences_scores, found["beams"], strict=True))
    right = apart < 1e-3
    print(f"{'ok' if right else 'DIFFERS':8} scores of 4 beams {apart:.1e} apart; length penalty "
          f"{penalty}")
    return right


def main():
    quiet()
    torch.set_num_threads(1)
    right = [compare(sys.argv[1], changes, length, seed)
             for seed, (changes, length) in enumerate(CASES, 1)]
    right += [compare_beams(sys.argv[1], penalty, seed)
              for penalty in (0.0, 1.0, 2.0) for seed in (1, 2, 3)]
    sys.exit(0 if all(right) else 1)


if __name__ == "__main__":
    main()
