"""Time and memory of libmae's training step against image size, batch, depth
and masking ratio, one varied at a time from ViT-B/16 at 224 x 224, 16 images a
step, 0.75 masked.

    scaling.py --programs FOLDER [--quick] [--doc FILE] [SWEEP]...

The encoder's time and FLOPs are those that the profile has under "encoder",
forward and backward."""
import argparse
import datetime
import os

from programs import Program, Report, machine, median, spread, table

# The option of train_step, its values, and what stands for them in the table.
SWEEPS = {
    "size": ("image-size", [112, 160, 224, 320, 448]),
    "batch": ("batch", [4, 8, 16, 32, 64]),
    "depth": ("depth", [4, 8, 12, 16, 24]),
    # One patch at least is hidden, or there would be nothing to learn.
    "ratio": ("mask-ratio", [0.0052, 0.25, 0.5, 0.75, 0.9]),
}
STEPS = 3


def run(program, option, value, steps):
    """The program after its steps, and the encoder's seconds and FLOPs a step."""
    p = Program([program, f"--{option}", value, "--steps", steps], profiled=True)
    for _ in range(steps):
        p.step()
    p.end()
    encoder = [(seconds, rate) for part, _, _, seconds, rate in p.profile if part == "encoder"]
    return (p, sum(s for s, _ in encoder) / steps,
            sum(s * rate for s, rate in encoder) / steps)


def row(sweep, value, measured, least):
    p, seconds, gflops = measured
    walls, cpus = zip(*p.steps)
    shown = "one patch" if sweep == "ratio" and value < 0.01 else value
    return [shown, f"{median(walls):.3g}", spread(walls), f"{median(cpus):.3g}",
            f"{1e-9 * float(p.facts['flops']):.0f}", f"{seconds:.3g}",
            f"{seconds / least[1]:.2f}", f"{gflops / least[2]:.2f}",
            f"{int(p.facts['planned_bytes']) / 2**20:.0f}", f"{p.peak_bytes() / 2**20:.0f}"]


def measure(program, sweep, steps):
    option, values = SWEEPS[sweep]
    measured = [run(program, option, value, steps) for value in values]
    # The paper's question is what masking saves of an encoder that sees all.
    least = measured[0]
    return table([option, "step, seconds, median", "least to most", "CPU seconds", "GFLOPs",
                  "encoder, seconds", "of the first row's", "its FLOPs, of the first row's",
                  "planned MiB", "peak memory, MiB"],
                 [row(sweep, value, m, least) for value, m in zip(values, measured)])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--programs", required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--doc")
    parser.add_argument("sweeps", nargs="*")
    o = parser.parse_args()
    report = Report(o.doc)
    for sweep in o.sweeps:
        if sweep not in SWEEPS:
            parser.error(f"no sweep {sweep}; there are: {' '.join(SWEEPS)}")
    report.section("scaling:machine", f"{datetime.date.today()}: {machine()}.\n")
    for sweep in o.sweeps or SWEEPS:
        report.section(f"scaling:{sweep}", measure(os.path.join(o.programs, "train_step"), sweep,
                                                   1 if o.quick else STEPS))


main()
