"""A small model with random weights in the place of one that people download, so that the examples
of help pages and documents run where nothing can be downloaded."""
import json
import math
import shutil
import struct
from pathlib import Path

ROBERTA = Path(__file__).resolve().parent.parent / "tests" / "tokenizers" / "roberta"


def weights(path, shapes):
    """Writes fp32 tensors {name: shape} with small values as safetensors."""
    header, data = {}, b""
    for name, shape in sorted(shapes.items()):
        values = [math.sin(i) / 16 for i in range(math.prod(shape))]
        begin = len(data)
        data += struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, len(data)]}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def roberta(folder):
    """A RoBERTa of one layer with a tokenizer, as a folder of the hub has it."""
    shutil.copytree(ROBERTA, folder)
    size, words = 16, 1660
    (folder / "config.json").write_text(json.dumps({
        "model_type": "roberta", "architectures": ["RobertaForMaskedLM"], "hidden_size": size,
        "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32,
        "vocab_size": words, "max_position_embeddings": 66, "type_vocab_size": 1,
        "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}))
    body, layer = "roberta.", "roberta.encoder.layer.0."
    shapes = {body + f"embeddings.{name}_embeddings.weight": [rows, size] for name, rows in (
        ("word", words), ("position", 66), ("token_type", 1))}
    linear = {layer + name: [size, size] for name in (
        "attention.self.query", "attention.self.key", "attention.self.value",
        "attention.output.dense")}
    linear |= {layer + "intermediate.dense": [32, size], layer + "output.dense": [size, 32],
               "lm_head.dense": [size, size]}
    for name, shape in linear.items():
        shapes |= {name + ".weight": shape, name + ".bias": shape[:1]}
    for name in (body + "embeddings.LayerNorm", layer + "attention.output.LayerNorm",
                 layer + "output.LayerNorm", "lm_head.layer_norm"):
        shapes |= {name + ".weight": [size], name + ".bias": [size]}
    shapes["lm_head.bias"] = [words]
    weights(folder / "model.safetensors", shapes)
