"""PyTorch beside train_step.c and features.c, with their options and output:

    peer_torch.py train|features [--compile] ...
    peer_torch.py export --model FILE --batch N --out FILE.onnx

bf16 is autocast."""
import json
import os
import sys
import warnings

import numpy as np
import torch

import peer

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)),
                                "..", "tests", "data"))
from mae_torch import Mae, adamw  # noqa: E402

CONFIGS = {
    "vit_b16": {},
    "vit_l16": dict(embed_dim=1024, depth=24, num_heads=16),
    "demo": dict(image_height=28, image_width=28, in_chans=1, patch_size=4,
                 embed_dim=128, depth=4, num_heads=4, decoder_embed_dim=64,
                 decoder_depth=1, decoder_num_heads=4),
}


class Features(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        return self.model.encode(images)[0][:, 0]


def weights(path):
    """The tensors of a safetensors file, where they lie in it."""
    data = np.memmap(path, np.uint8, "c")
    start = 8 + int(data[:8].view(np.uint64)[0])
    header = json.loads(data[8:start].tobytes())
    return {name: torch.from_numpy(data[start + t["data_offsets"][0]:start + t["data_offsets"][1]]
                                   .view(np.float32).reshape(t["shape"]))
            for name, t in header.items() if name != "__metadata__"}


def features_model(path):
    with torch.device("meta"):  # the weights are not made first
        model = Mae()
    model.load_state_dict(weights(path), assign=True)
    return Features(model).eval()


def training_step(o):
    config = CONFIGS[o.config]
    model = Mae(**config)
    run = torch.compile(model) if o.compile else model
    optimiser = adamw(model, 1e-5, fused=True)  # PyTorch's fastest on a CPU
    side = config.get("image_height", 224)
    images = torch.from_numpy(peer.values(o.batch, config.get("in_chans", 3), side, side))

    def step():
        noise = torch.rand(o.batch, model.rows * model.columns)
        with torch.autocast("cpu", torch.bfloat16, o.precision == "bf16"):
            loss = run(images, noise)[0]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss.item()
    return step


def features_step(o):
    model = features_model(o.model)
    run = torch.compile(model) if o.compile else model
    images = torch.from_numpy(peer.values(o.batch, 3, 224, 224))

    def step():
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16,
                                                    o.precision == "bf16"):
            return run(images)
    return step


def export(o):
    warnings.simplefilter("ignore")
    torch.onnx.export(features_model(o.model), (torch.zeros(o.batch, 3, 224, 224),),
                      o.out, dynamo=False, opset_version=17,
                      input_names=["images"], output_names=["features"])


def main():
    parser = peer.arguments()
    parser.add_argument("task", choices=["train", "features", "export"])
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--out")
    o = parser.parse_args()
    if o.threads:
        torch.set_num_threads(o.threads)
    if o.task == "export":
        return export(o)
    try:
        step = training_step(o) if o.task == "train" else features_step(o)
        for _ in range(3 if o.compile else 1):
            first = step()
    except Exception as error:  # a compiler that is missing, above all
        peer.skip(error)
    if o.task == "features":
        peer.show_features(first.float())
    peer.take_turns(o, f"PyTorch {torch.__version__}", step)


main()
