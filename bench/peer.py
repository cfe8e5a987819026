"""What the peers in Python share: the lines of bench/program.h, by which
compare.py drives programs in turns."""
import argparse
import resource
import sys
import time

import numpy as np


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--config", default="vit_b16")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--precision", choices=["f32", "bf16"], default="f32")
    parser.add_argument("--model")
    parser.add_argument("--interactive", action="store_true")
    return parser


def skip(why):
    print("skip", str(why).strip().split("\n")[0][:200], flush=True)
    sys.exit(0)


def values(*shape):
    """program_values of program.h: floats in [-2, 2)."""
    i = np.arange(np.prod(shape), dtype=np.uint32)
    with np.errstate(over="ignore"):
        bits = i * np.uint32(2654435761) >> np.uint32(16)
    return (bits.astype(np.float32) / 16384 - 2).reshape(shape)


def show_features(rows):
    print("features", *(f"{x:.7g}" for x in rows[0, :8].tolist()))


def cpu_seconds():
    u = resource.getrusage(resource.RUSAGE_SELF)
    return u.ru_utime + u.ru_stime


def take_turns(options, version, step):
    print("version", version)
    print("ready", flush=True)
    for _ in range(options.steps):
        if options.interactive and not sys.stdin.readline():
            break
        began, cpu = time.monotonic(), cpu_seconds()
        step()
        print(f"step {time.monotonic() - began:.6f} {cpu_seconds() - cpu:.6f}", flush=True)
    print("peak_bytes", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
