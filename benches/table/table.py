"""The table of what kustos promises: each row measured beside its peers, in turn, in one run.

    table.py KUSTOS LOG [QUERIES]

KUSTOS is a release binary, LOG a file of audit events, a line each. ROUNDS=N repeats each row (3 unless said). What
is measured is the kernel's (`wait4`): CPU seconds, user and system, and the most memory that was resident. QUERIES is
the executable of the bench `queries`: it asks an archive of the log its questions, and DuckDB is asked the same of the
same files. The medians are printed and kept in benches/results/, with the machine and the commit. A row that misses
what it must reach says so, and the exit code is 1.
"""

import datetime
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).parent
GB = 1e9

# How often DuckDB answers each question in a round: as often as the bench `queries` asks it.
ANSWERS = 9
# Milliseconds that a question aims at; the text in bodies is the one that reads them.
QUESTION_AIM, BODIES_AIM = 50, 1000


def run(command, out, environment={}):
    """What a command took: wall and CPU seconds, peak memory. Its output goes to a file."""
    began = time.monotonic()
    with open(out, "wb") as file, open(os.devnull, "wb") as null:
        process = subprocess.Popen(command, stdout=file, stderr=null, env=os.environ | environment)
        _, status, usage = os.wait4(process.pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code:
        sys.exit(f"{' '.join(map(str, command))} ended with {code}")
    return {"wall": time.monotonic() - began, "cpu": usage.ru_utime + usage.ru_stime, "memory": usage.ru_maxrss * 1024}


def size(folder, pattern):
    return sum(it.stat().st_size for it in pathlib.Path(folder).rglob(pattern))


class Bench:
    def __init__(self, kustos, log, queries):
        self.kustos, self.log, self.queries, self.bytes = kustos, log, queries, os.stat(log).st_size
        self.took, self.stored, self.answered = {}, {}, {}

    def measure(self, name, command, out):
        self.took.setdefault(name, []).append(run(command, out))

    def round(self, dir):
        out = dir / "out"
        archive = ["--archive", dir / "archive", "--cluster", "bench"]
        self.measure("detect", [self.kustos, "detect", "--profile", "standard", self.log], out)
        self.measure("zstd", ["zstd", "-3", "--single-thread", "-q", "-f", "-o", dir / "log.zst", self.log], out)
        self.measure("ingest", [self.kustos, "ingest", *archive, self.log], out)
        self.measure("one worker", [self.kustos, "ingest", "--workers", "1", "--archive", dir / "one", self.log], out)
        self.measure("hunt", [self.kustos, "hunt", "--profile", "standard", "--archive", dir / "archive"], out)
        self.measure("verify", [self.kustos, "archive", "verify", "--archive", dir / "archive"], out)
        self.stored = {"zstd": (dir / "log.zst").stat().st_size, "ingest": size(dir / "archive", "*.parquet")}
        self.stored["with catalog"] = size(dir / "archive", "*")
        python = HERE.parent.parent / ".tools/peers/bin/python3"
        if self.queries:
            self.ask(python, dir / "archive", dir / "questions.json", out)
        for peer in ["duckdb", "clickhouse"] if python.exists() else []:
            (dir / peer).mkdir()
            self.measure(peer, [python, HERE / "peers.py", f"{peer}-ingest", self.log, dir / peer], out)
            self.stored[peer] = json.loads(out.read_text())["stored"]

    def ask(self, python, archive, questions, out):
        """The seconds of each question, of kustos and of DuckDB, whose answers have to be as long."""
        run([self.queries], out, {"ARCHIVE": str(archive), "QUESTIONS": str(questions)})
        asked = json.loads(questions.read_text())
        for name, answer in asked.items():
            self.answered.setdefault(name, {}).setdefault("kustos", []).append(answer["seconds"])
        if python.exists():
            run([python, HERE / "peers.py", "duckdb-queries", archive, str(ANSWERS), questions], out)
            for answer in map(json.loads, out.read_text().splitlines()):
                name, rows = answer["name"], asked[answer["name"]]["rows"]
                if answer["rows"] != rows:
                    sys.exit(f"question {name}: DuckDB gives {answer['rows']} rows, kustos {rows}")
                self.answered[name].setdefault("duckdb", []).append(answer["seconds"])

    def questions(self):
        """A row for each, in milliseconds: no slower than DuckDB is what must be reached."""
        for name, seconds in self.answered.items():
            have, *peer = [statistics.median(it) * 1e3 for it in seconds.values()]
            aim = BODIES_AIM if "bodies" in name else QUESTION_AIM
            beside = "".join(f"duckdb {it:.1f}" for it in peer)
            yield f"question {name}, ms", have, "<", *(peer or [aim]), aim, beside

    def median(self, name, what):
        return statistics.median(it[what] for it in self.took[name])

    def rows(self):
        cost = lambda name: self.median(name, "cpu") / (self.bytes / GB)
        ratio = lambda name: self.bytes / self.stored[name]
        peers = [it for it in ("zstd", "duckdb", "clickhouse") if it in self.took]
        beside = lambda of: ", ".join(f"{it} {of(it):.1f}" for it in peers)
        speed = self.bytes / GB / self.median("verify", "cpu")
        workers = self.median("one worker", "wall") / self.median("ingest", "wall")
        peak = self.median("ingest", "memory") / 1e6
        yield "detect, profile standard, CPU s/GB", cost("detect"), "<", 1.0, 0.6, ""
        yield "ingest, CPU s/GB", cost("ingest"), "<", 3.0, 2.0, beside(cost)
        yield "ingest, times the CPU of zstd -3", cost("ingest") / cost("zstd"), "<", 1.5, 1.0, ""
        yield "bytes in / stored, segments", ratio("ingest"), ">", 33, 50, beside(ratio)
        yield "bytes in / stored, with catalog and findings", ratio("with catalog"), ">", 33, 50, ""
        yield "ingest, wall of one worker / of all", workers, ">", 1.8, 1.95, ""
        yield "ingest, peak memory MB", peak, "<", 1500, 1500, beside(lambda it: self.median(it, "memory") / 1e6)
        yield "hunt, profile standard, CPU s/GB", cost("hunt"), "<", 1.5, 0.5, ""
        yield "verify, GB/s of a core", speed, ">", 0.4, 0.7, ""
        yield from self.questions()


def verdict(have, than, must, aim):
    reaches = lambda it: have <= it if than == "<" else have >= it
    return "MISSED" if not reaches(must) else "aim" if reaches(aim) else "must"


def machine():
    model = next((it.split(":")[1].strip() for it in open("/proc/cpuinfo") if it.startswith("model name")), "unknown")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    kernel = platform.release().split("-")[0]
    return f"{os.cpu_count()} cores of {model}, {memory} GiB, Linux {kernel}"


def main():
    kustos, log = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
    if not shutil.which("zstd"):
        sys.exit("zstd is not installed: run .ci/setup peers")
    queries = pathlib.Path(sys.argv[3]).resolve() if "".join(sys.argv[3:]) else None
    bench = Bench(kustos, log, queries)
    rounds = int(os.environ.get("ROUNDS", 3))
    for at in range(rounds):
        print(f"round {at + 1} of {rounds}", file=sys.stderr)
        with tempfile.TemporaryDirectory() as dir:
            bench.round(pathlib.Path(dir))
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=HERE, capture_output=True, text=True).stdout.strip()
    lines = [f"{log.name}, {bench.bytes / 1e6:.0f} MB; {machine()}; commit {commit}; medians of {rounds}", ""]
    lines += ["| what | measured | must | aim | reached | beside |", "| --- | --- | --- | --- | --- | --- |"]
    missed = 0
    for name, have, than, must, aim, beside in bench.rows():
        reached = verdict(have, than, must, aim)
        missed += reached == "MISSED"
        lines.append(f"| {name} | {have:.2f} | {than} {must:.4g} | {than} {aim:g} | {reached} | {beside} |")
    text = "\n".join(lines) + "\n"
    print(text)
    results = HERE.parent / "results"
    results.mkdir(exist_ok=True)
    name = f"{datetime.date.today()}-{commit}-{log.stem}"
    (results / f"{name}.md").write_text(text)
    (results / f"{name}.json").write_text(json.dumps({"bytes": bench.bytes, "took": bench.took, "stored": bench.stored, "answered": bench.answered}, indent=1) + "\n")
    sys.exit(missed > 0)


main()
