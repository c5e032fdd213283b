"""Read compressed-tensors' 4-bit weights by hand, and measure what rounding has cost a model."""

import torch
from safetensors.torch import load_file

from tunesmith import DatasetSource
from tunesmith.chat import render_rows
from tunesmith.models import load_model, load_tokenizer, resolve_model
from tunesmith.plugins import build


def unpacked(folder, parent):
    """Return the parent's model with the weights that a folder holds, as floats."""
    held = load_file(folder / "model.safetensors")
    plain = {}
    for name, value in held.items():
        if name.endswith("_packed"):
            weight = name.removesuffix("_packed")
            plain[weight] = _floats(value, held[f"{weight}_scale"], held[f"{weight}_shape"])
        elif not name.endswith(("_scale", "_shape")):
            plain[name] = value.float()
    model = load_model(parent)
    left = model.load_state_dict(plain, strict=False)
    assert left.unexpected_keys == []
    assert set(left.missing_keys) <= {"lm_head.weight"}  # where it is tied to the embedding
    return model


def _floats(packed, scale, shape):
    """Eight numbers of four bits lie in each int32, the first in its lowest bits; 8 means 0."""
    rows, columns = shape.tolist()
    numbers = torch.stack([(packed >> (4 * place)) & 15 for place in range(8)], dim=-1)
    numbers = numbers.reshape(rows, -1)[:, :columns] - 8
    grouped = numbers.reshape(rows, scale.shape[1], -1) * scale.float()[..., None]
    return grouped.reshape(rows, columns)


@torch.no_grad()
def divergence(parent, other, texts):
    """Return the mean Kullback-Leibler divergence of the next token, in nats."""
    total = count = 0
    for ids in texts:
        asked = torch.tensor([ids])
        wanted, got = (one(asked).logits.log_softmax(-1) for one in (parent, other))
        total += float((wanted.exp() * (wanted - got)).sum())
        count += len(ids)
    return total / count


def nano_rows(given, held_out):
    """Return training rows of the nano's world to calibrate with, and others as token ids."""
    rows = list(build(DatasetSource, {"name": "nano", "train": 60}).rows())
    rows = [{"prompt": one["prompt"], "completion": one["completion"]} for one in rows]
    tokenizer = load_tokenizer(resolve_model("builtin:nano"))
    others = render_rows(tokenizer, rows[given : given + held_out])
    return rows[:given], [one.ids for one in others]
