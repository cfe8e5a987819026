"""libmae beside other programs, in one run: libmae and a peer take turns, step
by step, so that a noisy machine hurts both alike.

    compare.py --programs FOLDER [--quick] [--doc FILE] [--peers LIST] [CASE]...

Peers that are not installed are left out, and that is said.  Of two programs
the ratio is taken pair by pair."""
import argparse
import datetime
import importlib.util
import os
import subprocess
import sys
import tempfile
import time

from programs import (Program, Report, Skipped, cpu_has, free_bytes, machine, median, spread,
                      table)

FOLDER = os.path.dirname(os.path.abspath(__file__))
CASES = {  # steps, with --quick
    "machine": None,
    "peak": None,
    "train:vit_b16:16": (7, 2),
    "train:vit_b16:64": (3, 1),
    "train:vit_l16:8": (3, 1),
    "train:demo:128": (30, 5),
    "threads": (15, 1),
    "features:1": (30, 5),
    "features:16": (7, 2),
    "features:64": (3, 1),
    "startup": (5, 2),
}
PACKAGES = {"torch": "PyTorch", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
# Name, module, options.  libmae comes first of each precision.
TRAINING = [("PyTorch eager", "torch", []), ("PyTorch compiled", "torch", ["--compile"])]
FEATURES = TRAINING + [("ONNX Runtime", "onnxruntime", []), ("OpenVINO", "openvino", [])]
PRECISIONS = ["f32", "bf16"]  # libmae's of a precision it lacks is skipped, too
OURS = [f"libmae {precision}" for precision in PRECISIONS]
AMX_PRODUCTS = 6  # for one in f32
# Threads of ONNX Runtime look for work for some 50 ms after a step, which would
# be taken from the next program's.
PAUSE = 0.1  # seconds before each step
LEAST_SHARE = 0.005  # of the ops that are listed


def installed(module):
    if not importlib.util.find_spec(module):
        raise Skipped(f"{PACKAGES[module]} is not installed (pip install {module})")


class Bench:
    def __init__(self, programs, quick, report, scratch, peers):
        self.programs, self.quick, self.report, self.scratch = programs, quick, report, scratch
        self.training, self.inference = ([p for p in all if not peers or p[0] in peers]
                                         for all in (TRAINING, FEATURES))
        self.peaks = self.model = self.core = None

    def program(self, name):
        return os.path.join(self.programs, name)

    def steps(self, case):
        return CASES[case][self.quick]

    # ------------------------------------------------------------- peak --

    def measure_peaks(self):
        """Where OpenBLAS may be older than the processor, which it then takes
        for one of long ago, once more with its kernels for AVX-512: if those
        are much faster, what that says."""
        if self.peaks:
            return self.peaks
        for core in [None, "SkylakeX"] if cpu_has("avx512f") else [None]:
            env = dict(os.environ, OPENBLAS_CORETYPE=core) if core else None
            text = subprocess.run([self.program("peak")], check=True, text=True, env=env,
                                  stdout=subprocess.PIPE).stdout
            words = [line.split() for line in text.splitlines()]
            peaks = {w[0]: float(w[1]) for w in words if len(w) == 2}
            if not self.peaks or peaks["gemm_gflops"] > 1.5 * self.peaks["gemm_gflops"]:
                self.peaks, self.peak_text, self.core = peaks, text, core
        return self.peaks

    def peak(self, _):
        self.measure_peaks()
        note = f"CBLAS with `OPENBLAS_CORETYPE={self.core}`.\n\n" if self.core else ""
        self.report.section("peak", note + "```\n" + self.peak_text + "```\n")

    def machine(self, _):
        self.report.section("machine", f"{datetime.date.today()}: {machine()}.\n")

    # -------------------------------------------------------- in turns --

    def in_turns(self, case, libmae, peer, profiled=False):
        """Two programs; of a command of None there is none."""
        running = [Program(libmae, profiled)]
        try:
            if peer:
                need = 2.5 * int(running[0].facts.get("planned_bytes", 0))
                if need > free_bytes():
                    raise Skipped(f"it may take {need / 2**30:.0f} GiB, and "
                                  f"{free_bytes() / 2**30:.0f} are free")
                running.append(Program(peer))
            for _ in range(self.steps(case)):
                for program in running:
                    time.sleep(PAUSE)
                    program.step()
        finally:
            for program in running:
                program.end()
        return running

    def rows(self, case, images, commands):
        """commands: (name, precision, module or None, command), libmae's first
        of each precision."""
        rows, ours, baselines, notes = [], {}, {}, []
        for name, precision, module, command in commands:
            label = f"{name} {precision}"
            try:
                if module:
                    installed(module)
                    command = command()
                # libmae in bf16 is a peer of libmae in f32.
                base = precision if precision in baselines else "f32"
                if base in baselines:
                    mine, program = self.in_turns(case, baselines[base], command)
                    ours[base].steps = ours[base].steps + mine.steps
                    rows.append([label, program, (base, mine.steps)])
                else:
                    program, = self.in_turns(case, command, None)
                    rows.append([label, program, None])
                if label in OURS or not ours:
                    baselines[precision], ours[precision] = command, program
            except Skipped as why:
                notes.append(f"{label}: skipped, {why}.")
        text = table(["", "seconds, median", "least to most", "CPU seconds", "images/s",
                      "times libmae's", "CPU, times libmae's", "peak memory, MiB"],
                     [self.row(images, *row) for row in rows])
        return text + "".join("\n" + note for note in notes) + "\n" * bool(notes), rows

    def row(self, images, label, program, mine):
        walls, cpus = zip(*program.steps)
        ratios = ["", ""]
        if mine:  # of which precision, and its steps
            wall, cpu = ([p[i] / m[i] for m, p in zip(mine[1], program.steps)] for i in (0, 1))
            ratios = [f"{median(wall):.2f} ({spread(wall, '{:.2f}')}) of {mine[0]}",
                      f"{median(cpu):.2f}"]
        return [label, f"{median(walls):.4g}", spread(walls), f"{median(cpus):.4g}",
                f"{images / median(walls):.1f}"] + ratios + [
                    f"{program.peak_bytes() / 2**20:.0f}"]

    def own(self, precision, command):
        """libmae, and where it has AMX in f32 without it, too."""
        yield "libmae", precision, None, command
        if precision == "f32" and cpu_has("amx_bf16"):
            yield "libmae by AVX-512", precision, None, ["env", "MAE_ISA=avx512"] + command

    # --------------------------------------------------------- training --

    def train_options(self, case, config, batch):
        return ["--config", config, "--batch", batch, "--steps", self.steps(case)]

    def train(self, case):
        _, config, batch = case.split(":")
        options = self.train_options(case, config, batch)
        mine = [self.program("train_step")] + options
        commands = []
        for precision in PRECISIONS:
            how = ["--precision", precision]
            commands += self.own(precision, mine + how)
            if precision == "f32":
                commands.append(("libmae, update in backward", precision, None,
                                 mine + how + ["--update-in-backward"]))
            for name, module, more in self.training:
                command = [sys.executable, os.path.join(FOLDER, "peer_torch.py"), "train"]
                commands.append((name, precision, module,
                                 lambda c=command + options + how + more: c))
        text, rows = self.rows(case, int(batch), commands)
        for label, program, _ in rows:
            if label in OURS:
                text += "\n" + self.where(case, mine, label.split()[1], program)
        self.report.section(case, text)

    def threads(self, case):
        command = [self.program("train_step")] + self.train_options(case, "vit_b16", "16")
        self.report.section(case, "\n".join(
            self.thread_rows(case, name, own)
            for name, _, _, own in self.own("f32", command)))

    def thread_rows(self, case, name, command):
        """A step by one thread beside one by all, and beside as many processes
        of one thread as there are CPUs: what the machine can do at once."""
        one = command + ["--threads", "1"]
        text, _ = self.rows(case, 16, [(name, "f32", None, command),
                                       (name + ", 1 thread", "f32", None, one)])
        turns = ["--steps", 2 * self.steps(case)]
        programs = [Program(one + turns) for _ in os.sched_getaffinity(0)]
        factors = []
        for _ in range(self.steps(case)):
            alone = programs[0].step()
            for program in programs:
                program.begin_step()
            factors.append(sum(alone / program.end_step() for program in programs))
        for program in programs:
            program.end()
        return text + (
            f"\n{name}: {len(programs)} processes of one thread at once did {median(factors):.2f} "
            f"({spread(factors, '{:.2f}')}) times what one did alone, turn by turn.\n")

    def where(self, case, command, precision, program):
        """The share of the peak, and where the rest of the time goes."""
        flops = float(program.facts["flops"])
        rate = 1e-9 * flops / median(step[0] for step in program.steps)
        shares = ", ".join(f"{rate / peak:.0%} of the {name} peak of {peak:.0f}"
                           for name, peak in self.peaks_of(precision).items())
        text = (f"A step of libmae {precision} has {1e-9 * flops:.1f} GFLOPs in products: "
                f"{rate:.0f} GFLOP/s, {shares}.")
        profiled, *gemm = self.in_turns(case, command + ["--precision", precision],
                                        self.gemm(flops) if precision == "f32" else None,
                                        profiled=True)
        for other in gemm:
            most = float(other.facts["flops"])
            ratios = [flops / p[0] / (most / g[0]) for p, g in zip(profiled.steps, other.steps)]
            rates = [1e-9 * most / g[0] for g in other.steps]
            text += (f" Turn by turn with large CBLAS products, which made {median(rates):.0f} "
                     f"({spread(rates, '{:.0f}')}), its rate was {median(ratios):.0%} "
                     f"({spread(ratios, '{:.0%}')}) of theirs.")
        return text + "\n\n" + self.ops(profiled, precision)

    def gemm(self, flops):
        """CBLAS products, in a turn about as many FLOPs, but some at least."""
        self.measure_peaks()
        env = ["env", f"OPENBLAS_CORETYPE={self.core}"] if self.core else []
        count = max(4, round(flops / (2.0 * len(os.sched_getaffinity(0)) * 2048**3)))
        return env + [self.program("peak"), "--gemm", count, "--steps", 1000]

    def peaks_of(self, precision):
        names = {"FMA": "fma_gflops"}
        if precision == "bf16":
            names = {"bf16": "bf16_gflops", "f32 FMA": "fma_gflops"}
        return {name: self.measure_peaks()[fact] for name, fact in names.items()}

    def ops(self, profiled, precision):
        n, peaks = len(profiled.steps), self.measure_peaks()

        def peak(op):  # AMX and bf16 are for linear layers alone
            if op.startswith("linear") and precision == "bf16":
                return peaks["bf16_gflops"]
            if op.startswith("linear") and profiled.facts["isa"] == "amx":
                return peaks["bf16_gflops"] / AMX_PRODUCTS
            return peaks["fma_gflops"]
        all_seconds = sum(e[3] for e in profiled.profile)
        kept = [e for e in profiled.profile if e[3] >= LEAST_SHARE * all_seconds]
        rest = all_seconds - sum(e[3] for e in kept)
        rows = [[part, op, way, f"{1e3 * s / n:.2f}", f"{s / all_seconds:.1%}",
                 f"{rate:.0f}" if rate else "", f"{rate / peak(op):.0%}" if rate else "",
                 f"{1e3 * s / n * (1 - rate / peak(op)):.2f}"]
                for part, op, way, s, rate in kept]
        rows.append(["the rest", "", "", f"{1e3 * rest / n:.2f}", f"{rest / all_seconds:.1%}",
                     "", "", f"{1e3 * rest / n:.2f}"])
        return table(["part", "op", "pass", "ms a step", "share", "GFLOP/s", "of its peak",
                      "ms beyond it"], rows)

    # --------------------------------------------------------- features --

    def weights(self):
        if not self.model:
            self.model = os.path.join(self.scratch, "vit_b16.safetensors")
            subprocess.run([self.program("features"), "--write", self.model], check=True)
        return self.model

    def exported(self, batch):
        """The model as an ONNX file for this batch; the last one is deleted."""
        path = os.path.join(self.scratch, f"batch-{batch}.onnx")
        if not os.path.exists(path):
            for old in os.listdir(self.scratch):
                if old.endswith(".onnx"):
                    os.unlink(os.path.join(self.scratch, old))
            try:
                installed("torch")
            except Skipped:
                raise Skipped("its model is made by PyTorch, which is not installed") from None
            subprocess.run([sys.executable, os.path.join(FOLDER, "peer_torch.py"), "export",
                            "--model", self.weights(), "--batch", str(batch), "--out", path],
                           check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return path

    def features_commands(self, batch, steps):
        options = ["--batch", batch, "--steps", steps]
        model = ["--model", self.weights()]
        for precision in PRECISIONS:
            how = options + ["--precision", precision]
            yield from self.own(precision, [self.program("features")] + model + how)
            for name, module, more in self.inference:
                script = [sys.executable, os.path.join(FOLDER, f"peer_{module}.py")]
                if module == "torch":
                    yield (name, precision, module,
                           lambda c=script + ["features"] + model + how + more: c)
                elif module == "openvino" or precision == "f32":
                    yield (name, precision, module,
                           lambda c=script + how: c + ["--model", self.exported(batch)])

    def features(self, case):
        batch = int(case.split(":")[1])
        text, rows = self.rows(case, batch,
                               self.features_commands(batch, self.steps(case)))
        self.report.section(case, text + "\n" + self.agreement(rows))

    def agreement(self, rows):
        """Largest difference of the features shown, over the largest of them."""
        values = [[float(x) for x in row[1].facts["features"].split()] for row in rows]
        scale = max(abs(x) for x in values[0])
        differences = [f"{row[0]} {max(abs(a - b) for a, b in zip(v, values[0])) / scale:.0e}"
                       for row, v in list(zip(rows, values))[1:]]
        return f"Features differ from libmae f32's by: {', '.join(differences) or 'nobody to ask'}.\n"

    # ---------------------------------------------------------- startup --

    def startup(self, case):
        """From the start of a process to its first features."""
        programs, notes = [], []
        for name, precision, module, command in self.features_commands(1, 0):
            label = f"{name} {precision}"
            try:
                if module:
                    installed(module)
                command = command() if module else command
                programs.append((label, command, [], []))
                self.start(programs[-1])  # files are in memory then
            except Skipped as why:
                programs = [p for p in programs if p[0] != label]
                notes.append(f"{label}: skipped, {why}.\n")
        for row in programs:
            row[2].clear()
        for _ in range(self.steps(case)):
            for program in programs:
                self.start(program)
        rows = [[label, f"{median(seconds):.3g}", spread(seconds),
                 f"{median(s / m for s, m in zip(seconds, programs[0][2])):.1f}",
                 f"{peaks[-1] / 2**20:.0f}"] for label, _, seconds, peaks in programs]
        self.report.section(case, table(["", "seconds, median", "least to most",
                                         "of libmae f32's", "peak memory, MiB"], rows) +
                            "".join("\n" + note for note in notes))

    def start(self, row):
        began = datetime.datetime.now()
        program = Program(row[1])
        row[2].append((datetime.datetime.now() - began).total_seconds())
        program.end()
        row[3].append(program.peak_bytes())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--programs", required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--doc")
    parser.add_argument("--peers", default="", help="names, separated by commas")
    parser.add_argument("cases", nargs="*")
    o = parser.parse_args()
    for case in o.cases:
        if case not in CASES:
            parser.error(f"no case {case}; there are: {' '.join(CASES)}")
    with tempfile.TemporaryDirectory() as scratch:
        bench = Bench(o.programs, o.quick, Report(o.doc), scratch,
                      [name for name in o.peers.split(",") if name])
        for case in o.cases or CASES:
            getattr(bench, case.split(":")[0])(case)


main()
