"""Programs that speak as bench/program.h says, and tables of what they took."""
import os
import re
import statistics
import subprocess


class Skipped(Exception):
    pass


class Program:
    """A program that has said "ready", with what it said before.

    facts: its lines, by their first word.  steps: wall and CPU seconds.
    profile: rows of the table of MAE_PROFILE=1."""

    def __init__(self, command, profiled=False):
        env = dict(os.environ, MAE_PROFILE="1" if profiled else "0")
        self.facts, self.steps, self.profile = {}, [], []
        self.process = subprocess.Popen(
            [str(word) for word in command] + ["--interactive"], text=True, env=env,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        while "ready" not in self.facts:
            self.read_line()

    def read_line(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args} ended with {self.process.wait()}")
        word, _, rest = line.strip().partition(" ")
        if word == "skip":
            self.process.wait()
            raise Skipped(rest)
        self.facts[word] = rest

    def step(self):
        self.begin_step()
        return self.end_step()

    def begin_step(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end_step(self):
        self.read_line()
        wall, cpu = map(float, self.facts["step"].split())
        self.steps.append((wall, cpu))
        return wall

    def end(self):
        self.process.stdin.close()
        for line in self.process.stdout:
            words = line.split()
            if len(words) == 7 and words[0] not in ("part", "all"):
                part, op, way, _, seconds, _, rate = words
                self.profile.append((part, op, way, float(seconds),
                                     0 if rate == "-" else float(rate)))
            elif words:
                self.facts[words[0]] = " ".join(words[1:])
        if self.process.wait():
            raise RuntimeError(f"{self.process.args} ended with {self.process.returncode}")

    def peak_bytes(self):
        return int(self.facts["peak_bytes"])


def median(numbers):
    return statistics.median(numbers)


def spread(numbers, form="{:.3g}"):
    return f"{form.format(min(numbers))} to {form.format(max(numbers))}"


def free_bytes():
    with open("/proc/meminfo") as f:
        return 1024 * int(re.search(r"MemAvailable: *(\d+)", f.read())[1])


def cpu_info():
    with open("/proc/cpuinfo") as f:
        return f.read()


def cpu_has(flag):
    return flag in cpu_info().split()


def machine():
    text = cpu_info()
    with open("/proc/meminfo") as f:
        memory = int(re.search(r"MemTotal: *(\d+)", f.read())[1]) / 2**20
    flags = re.search(r"^(?:flags|Features)\s*:(.*)", text, re.M)
    known = ["avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "sve"]
    have = [x for x in known if flags and x in flags[1].split()]
    name = re.search(r"model name\s*:\s*(.*)", text)
    return (f"{len(os.sched_getaffinity(0))} CPUs, {name[1] if name else os.uname().machine} "
            f"({', '.join(have)}), {memory:.0f} GiB of memory; the load of the machine when this "
            f"began was {os.getloadavg()[0]:.1f}")


def table(head, rows):
    lines = ["| " + " | ".join(str(x) for x in row) + " |" for row in [head] + rows]
    lines.insert(1, "|" + "---|" * len(head))
    return "\n".join(lines) + "\n"


class Report:
    """Prints sections, and puts them into a document between the lines
    "<!-- NAME -->" and "<!-- end -->"."""

    def __init__(self, document):
        self.document = document

    def section(self, name, text):
        print(f"{name}\n\n{text}", flush=True)
        if not self.document:
            return
        with open(self.document) as f:
            old = f.read()
        begin, end = f"<!-- {name} -->\n", "<!-- end -->"
        if begin not in old:
            raise SystemExit(f"{self.document} has no line {begin.strip()}")
        before, _, rest = old.partition(begin)
        _, _, after = rest.partition(end)
        with open(self.document, "w") as f:
            f.write(f"{before}{begin}\n{text}\n{end}{after}")
