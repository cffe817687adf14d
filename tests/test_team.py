"""Loops that threads share give what one thread gives: from several callers at once, and in a child of a fork."""

import os
import subprocess
import sys

SHARED = """
import hashlib, os, sys, threading
import numpy as np
from mcbits.distributions import Bernoulli, GaussianBuckets

generator = np.random.default_rng(0)

def some(low, high, *shape):
    return generator.integers(low, high, shape, dtype=np.int32)

logits, x = some(-5000, 5000, 2, 300, 784), some(0, 2, 2, 784)
q = GaussianBuckets(some(-4000, 4000, 2, 50), some(-500, 0, 2, 50), 8, 24)
z = some(0, 256, 2, 300, 50)

def digest():
    both = Bernoulli(logits, 16).total_codelength(x), q.expand(300).total_codelength(z)
    return hashlib.sha256(b"".join(total.tobytes() for total in both)).hexdigest()

found = [digest()]
threads = [threading.Thread(target=lambda: found.extend(digest() for _ in range(20))) for _ in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
read, write = os.pipe()
if os.fork() == 0:
    os.write(write, digest().encode())
    os._exit(0)
found.append(os.read(read, 64).decode())
os.wait()
assert len(found) == 62 and len(set(found)) == 1, found
print(found[0])
"""


def test_one_thread_and_four_give_the_same_from_several_callers_and_in_a_fork():
    outputs = {
        subprocess.run(
            [sys.executable, "-c", SHARED],
            env=os.environ | {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads},
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        ).stdout
        for threads in ("1", "4")
    }
    assert len(outputs) == 1
