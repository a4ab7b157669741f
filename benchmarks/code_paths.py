"""Run the tests of numbers as other processors would.

python benchmarks/code_paths.py [--path NAME] [--threads N] [TESTS AND OPTIONS OF PYTEST]

oneDNN, OpenBLAS and NumPy choose their code by the processor, and the number of threads decides
how a sum is divided. Each path is a run of pytest of its own, with what forces that code in its
environment. The path "reordered" goes further than a processor does: TensorFlow's own products
and sums are replaced by kernels that add in another order for each size of a batch; needs g++.
"""

import argparse
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
SSE41 = {"ONEDNN_MAX_CPU_ISA": "SSE41", "OPENBLAS_CORETYPE": "Nehalem"}
AVX2 = {"ONEDNN_MAX_CPU_ISA": "AVX2", "OPENBLAS_CORETYPE": "Haswell"}
EIGEN = {"TF_ENABLE_ONEDNN_OPTS": "0", "OPENBLAS_CORETYPE": "Nehalem"}
PATHS = {
    "default": {},
    "sse41": SSE41,
    "avx2": AVX2,
    "eigen": EIGEN,
    "reordered": EIGEN,
}


def threads(count):
    return {f"TF_NUM_{kind}_THREADS": str(count) for kind in ("INTRAOP", "INTEROP")}


def run(environment, tests, plugins=()):
    """Return the outcome of pytest's last line and the tests that failed."""
    command = [sys.executable, "-m", "pytest", "-q", "--tb=no", "-p", "no:cacheprovider"]
    # TensorFlow asks the processor whether it has bfloat16, and oneDNN, held back, then refuses or
    # aborts: on a processor without bfloat16 TensorFlow would not have asked.
    marks = "numeric and not slow and not whole"
    marks += " and not bfloat16" if "ONEDNN_MAX_CPU_ISA" in environment else ""
    command += ["-m", marks, *plugins, *tests]
    if importlib.util.find_spec("xdist"):
        command += ["--max-worker-restart", "0"]  # a test that aborts is named, and ends the run
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, check=False
    )
    lines = done.stdout.strip().splitlines() or [done.stderr[-2000:]]
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    # 0: all passed; 5: no test was selected; all others are failures, with or without names.
    return done.returncode, lines[-1].strip("= "), failed


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--path", action="append", choices=PATHS, help="default: all of them")
    parser.add_argument("--threads", action="append", type=int, help="default: 1 and 2")
    options, tests = parser.parse_known_args()
    codes = []
    with tempfile.TemporaryDirectory() as folder:
        for path in options.path or PATHS:
            environment, plugins = dict(PATHS[path]), ()
            if path == "reordered":
                kernels = str(Path(folder) / "kernels.so")
                build = [sys.executable, str(HERE / "reordered_sums.py"), kernels]
                subprocess.run(build, check=True)
                environment["REORDERED_SUMS"] = kernels
                search = [str(HERE), os.environ.get("PYTHONPATH", "")]
                environment["PYTHONPATH"] = os.pathsep.join(filter(None, search))
                plugins = ("-p", "reordered_sums")
            for count in options.threads or (1, 2):
                code, outcome, failed = run(environment | threads(count), tests, plugins)
                codes.append(code)
                print(f"{path:10} {count} threads  {outcome}", *failed, sep="\n    ", flush=True)
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
