"""Replace TensorFlow's float32 products and sums by kernels that add in another order.

A plugin of pytest, for benchmarks/code_paths.py: `REORDERED_SUMS` names the compiled kernels. As
a program, it compiles them: python benchmarks/reordered_sums.py FILE.so (needs g++; 20 seconds).
"""

import os
import subprocess
import sys
from pathlib import Path

import tensorflow as tf


def build(path):
    """Compile the kernels of reordered_sums.cc for the installed TensorFlow."""
    source = Path(__file__).with_suffix(".cc")
    command = ["g++", "-O2", "-w", "-mfma", "-shared", "-fPIC", str(source), "-o", str(path)]
    flags = [*tf.sysconfig.get_compile_flags(), *tf.sysconfig.get_link_flags()]
    subprocess.run([*command, *flags], check=True)


if "REORDERED_SUMS" in os.environ:
    tf.load_op_library(os.environ["REORDERED_SUMS"])
    # Fused operations would go around the kernels.
    tf.config.optimizer.set_experimental_options({"remapping": False})

if __name__ == "__main__":
    build(sys.argv[1])
