"""Makes features_tiny.safetensors and features_odd.safetensors beside itself:
what the reference gives, in double precision, for the models and images of
golden_*.safetensors beyond what is in those: every block, attention weights,
images of another size, pooling with fc_norm.  Needs torch and safetensors:
    python3 tests/data/make_features.py"""
import os

import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from mae_torch import Mae


def interpolate(table, rows, columns, new_rows, new_columns):
    """As the official interpolate_pos_embed, for any rectangle."""
    grid = table[:, 1:].reshape(1, rows, columns, -1).permute(0, 3, 1, 2)
    grid = F.interpolate(grid, (new_rows, new_columns), mode="bicubic",
                         align_corners=False)
    return torch.cat([table[:, :1], grid.permute(0, 2, 3, 1).flatten(1, 2)], 1)


def resize(model, height, width):
    rows, columns = height // model.patch_size, width // model.patch_size
    for table in (model.pos_embed, model.decoder_pos_embed):
        table.data = interpolate(table.data, model.rows, model.columns, rows, columns)
    model.rows, model.columns = rows, columns


def attention(block, x):
    heads = block.attn.heads
    b, t, d = x.shape
    q, k, _ = block.attn.qkv(block.norm1(x)).reshape(b, t, 3, heads, -1).permute(
        2, 0, 3, 1, 4)
    return (q @ k.transpose(-2, -1) / (d // heads) ** 0.5).softmax(-1)


@torch.no_grad()
def features(path, height, width):
    tensors = load_file(path)
    with safe_open(path, "pt") as file:
        config = {k[4:]: float(v) if k == "mae.mlp_ratio" else int(v)
                  for k, v in file.metadata().items() if k.startswith("mae.")}
        ratio = float(file.metadata()["golden.mask_ratio"])
    model = Mae(**config)
    model.load_state_dict({k: tensors[k] for k in model.state_dict()})
    model.double()
    images = tensors["golden.images"].double()
    count = len(model.blocks)
    hidden = [model.encode(images, blocks=i, norm=False)[0] for i in range(count + 1)]
    out = {"blocks": torch.stack([model.norm(x) for x in hidden[1:]], 1),
           "attention": torch.stack(
               [attention(b, x) for b, x in zip(model.blocks, hidden)], 1).flatten(1, 2),
           "pooled": model.norm(hidden[-1][:, 1:].mean(1))}

    torch.manual_seed(7)
    resize(model, height, width)
    images = torch.randn(2, config["in_chans"], height, width)
    noise = torch.rand(2, model.rows * model.columns)
    loss, pred, _ = model(images.double(), noise.double(), ratio)
    out.update({"resized.images": images, "resized.noise": noise,
                "resized.pos_embed": model.pos_embed,
                "resized.decoder_pos_embed": model.decoder_pos_embed,
                "resized.features": model.encode(images.double())[0],
                "resized.loss": loss.reshape(1), "resized.pred": pred})
    return {k: v.float().contiguous() for k, v in out.items()}


if __name__ == "__main__":
    folder = os.path.dirname(os.path.abspath(__file__))
    for name, height, width in (("tiny", 48, 24), ("odd", 30, 30)):
        made = features(os.path.join(folder, f"golden_{name}.safetensors"), height, width)
        save_file(made, os.path.join(folder, f"features_{name}.safetensors"))
