"""Training steps of libmae and PyTorch, turn by turn in one run, so that a
noisy machine hurts both alike.  Usage: compare.py TRAIN_STEP_PROGRAM"""
import importlib.util
import os
import statistics
import subprocess
import sys

CASES = [("vit_b16", 16, 5), ("demo", 128, 15)]
FOLDER = os.path.dirname(os.path.abspath(__file__))


def start(command, config, batch, steps):
    process = subprocess.Popen(
        command + ["--config", config, "--batch", str(batch), "--steps", str(steps),
                   "--interactive"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    return process, process.stdout.readline().strip()


def one_step(process):
    process.stdin.write("\n")
    process.stdin.flush()
    return float(process.stdout.readline().split()[1])


peers = {"libmae": [sys.argv[1]]}
if importlib.util.find_spec("torch"):
    peers["torch"] = [sys.executable, os.path.join(FOLDER, "torch_step.py")]
else:
    print("PyTorch is not installed (pip install torch): libmae alone")

for config, batch, steps in CASES:
    running = {}
    for name, command in peers.items():
        running[name], banner = start(command, config, batch, steps)
        print(f"{config} batch {batch}: {banner}")
    times = {name: [] for name in peers}
    for _ in range(steps):
        for name, process in running.items():
            times[name].append(one_step(process))
    for process in running.values():
        process.stdin.close()
        process.wait()
    for name, seconds in times.items():
        print(f"  {name:7} median {statistics.median(seconds):.3f} s "
              f"({min(seconds):.3f} to {max(seconds):.3f})  "
              f"{batch / statistics.median(seconds):.2f} images/s")
    if "torch" in times:
        ratios = [t / m for m, t in zip(times["libmae"], times["torch"])]
        print(f"  libmae is {statistics.median(ratios):.2f} x as fast as PyTorch "
              f"({min(ratios):.2f} to {max(ratios):.2f}, pair by pair)")
