import platform
import subprocess
import sys

import pytest

from tests.conftest import ROOT

PROGRAM = """
import resource
import sys
from scripts.workflow.memory_reuse import keep_freed_memory

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

if sys.argv[1] == "keep":
    print(keep_freed_memory())
import torch
for _ in range(6):
    before = faults()
    torch.ones(16 * 2**20)
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library than glibc")
def test_a_tensor_takes_the_memory_of_the_one_before():
    def pages(mode):
        command = [sys.executable, "-c", PROGRAM, mode]
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        return int(result.stdout.split()[-1])

    assert pages("plain") > 100  # 64 MB anew each time; fewer faults where the system gives large pages
    assert pages("keep") < 20
