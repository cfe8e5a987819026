"""Makes golden_probe.safetensors beside itself: linear probes trained in double
precision by torch's BatchNorm1d and Linear and the LARS of the official probe's
rules, from our random numbers.  Needs torch, safetensors and numpy:
    python3 tests/data/make_probe.py"""
import math
import os

import numpy as np
import torch
from safetensors.torch import save_file

from philox import normal, permutation

FOLDER = os.path.dirname(os.path.abspath(__file__))
ORDER, WEIGHT = 0x70726F6265000000, int.from_bytes(b"probew", "big")

# In the order of the golden file's "options".
NAMES = ("batch", "epochs", "warmup", "base_lr", "decay", "momentum", "trust", "eps",
         "norm_momentum", "seed", "classes")
# rows, width, options
CASES = {
    # Several batches an epoch, and what is left over.
    "batches": (150, 12, dict(batch=32, epochs=6, warmup=2, base_lr=2, decay=0, momentum=0.9,
                              trust=0.3, eps=1e-6, norm_momentum=0.1, seed=3, classes=5)),
    # Everything else; one batch an epoch.
    "other": (61, 7, dict(batch=4096, epochs=9, warmup=0, base_lr=3, decay=0.25, momentum=0.5,
                          trust=0.25, eps=0.125, norm_momentum=0.25, seed=2**20, classes=2)),
}


def lars(parameter, velocity, rate, o):
    """You et al. 2017; vectors neither decay nor adapt."""
    step = parameter.grad
    if parameter.ndim > 1:
        step = step + o["decay"] * parameter
        size, length = parameter.norm(), step.norm()
        if size > 0 and length > 0:
            step = step * (o["trust"] * size / length)
    velocity.mul_(o["momentum"]).add_(step)
    parameter.sub_(rate * velocity)


def rate_at(step, batches, batch, o):
    epoch, peak = step / batches, o["base_lr"] * batch / 256
    if epoch < o["warmup"]:
        return peak * epoch / o["warmup"]
    part = (epoch - o["warmup"]) / (o["epochs"] - o["warmup"])
    return peak * 0.5 * (1 + math.cos(math.pi * part))


def data(n, width, classes, generator):
    """Classes that overlap, in columns of unlike scales; one is constant."""
    labels = generator.integers(0, classes, n)
    x = generator.standard_normal((classes, width))[labels] + generator.standard_normal((n, width))
    x = x * np.geomspace(0.03, 30, width) + np.linspace(-2, 2, width)
    x[:, 1] = 1.5
    return torch.tensor(x, dtype=torch.float32), torch.tensor(labels)


def probe(n, width, o, generator):
    x, labels = data(n, width, o["classes"], generator)
    norm = torch.nn.BatchNorm1d(width, affine=False, eps=o["eps"], momentum=o["norm_momentum"])
    head = torch.nn.Linear(width, o["classes"])
    norm.double()
    head.double()
    first = [0.01 * float(normal(o["seed"], WEIGHT, i)) for i in range(head.weight.numel())]
    head.weight.data = torch.tensor(first, dtype=torch.float64).reshape(head.weight.shape)
    head.bias.data.zero_()
    velocities = [torch.zeros_like(p) for p in head.parameters()]
    batch = min(o["batch"], n)
    batches, losses, step = n // batch, [], 0
    for epoch in range(o["epochs"]):
        order, losses_here = permutation(o["seed"], ORDER + epoch, n), []
        for i in range(batches):
            rows = order[i * batch:(i + 1) * batch]
            loss = torch.nn.functional.cross_entropy(head(norm(x[rows].double())), labels[rows])
            head.zero_grad()
            loss.backward()
            with torch.no_grad():
                for parameter, velocity in zip(head.parameters(), velocities):
                    lars(parameter, velocity, rate_at(step, batches, batch, o), o)
            step += 1
            losses_here.append(loss.item())
        losses.append(sum(losses_here) / batches)
    norm.eval()
    with torch.no_grad():
        logits = head(norm(x.double()))
    print(f"loss {losses[0]:.4f} to {losses[-1]:.4f}, "
          f"{(logits.argmax(1) == labels).double().mean():.3f} right")
    assert losses[-1] < 0.9 * losses[0]
    options = torch.tensor([float(o[name]) for name in NAMES])
    return dict(features=x, labels=labels.float(), options=options, logits=logits.float(),
                losses=torch.tensor(losses), weight=head.weight.detach().float(),
                bias=head.bias.detach().float())


def main():
    generator, out = np.random.default_rng(1), {}
    for name, (n, width, o) in CASES.items():
        made = probe(n, width, o, generator)
        out.update({f"{name}.{key}": value.contiguous() for key, value in made.items()})
    save_file(out, os.path.join(FOLDER, "golden_probe.safetensors"))


if __name__ == "__main__":
    main()
