"""Loops that threads share give what one thread gives: again and again, from several callers at once, and in children
of a fork. `tests/robustness/team_stress.c` is the same for the threads alone."""

import os
import subprocess
import sys

from mcbits.core import threads

SHARED = """
import hashlib, os, sys, threading
import numpy as np
from mcbits._rans import Stack
from mcbits.distributions import Bernoulli, GaussianBuckets

generator = np.random.default_rng(0)

def some(low, high, *shape):
    return generator.integers(low, high, shape, dtype=np.int32)

logits, x = some(-5000, 5000, 2, 300, 784), some(0, 2, 2, 784)
mean, log_scale = some(-4000, 4000, 16, 50), some(-500, 0, 16, 50)
z = GaussianBuckets(mean, log_scale, 8, 24).expand(200).pop(Stack(16))

def digest():
    stack, q = Stack(16, seed=1), GaussianBuckets(mean, log_scale, 8, 24)
    found = [q.expand(200).pop(stack), q.expand(200).total_codelength(z)]
    GaussianBuckets(mean, log_scale, 8, 24).expand(200).push(stack, z)
    GaussianBuckets(mean, log_scale, 8, 24).push(stack, z[:, 0])
    found += [stack.heads, *(stack.tail(lane) for lane in range(16)), Bernoulli(logits, 16).total_codelength(x)]
    return hashlib.sha256(b"".join(part.tobytes() for part in found)).hexdigest()

found = [digest() for _ in range(60)]
threads = [threading.Thread(target=lambda: found.extend(digest() for _ in range(20))) for _ in range(3)]
for thread in threads:
    thread.start()
for _ in range(5):
    read, write = os.pipe()
    if os.fork() == 0:
        os.write(write, digest().encode())
        os._exit(0)
    os.close(write)
    found.append(os.read(read, 64).decode())
    os.wait()
for thread in threads:
    thread.join()
assert len(found) == 125 and len(set(found)) == 1, found
print(found[0])
"""


def test_any_number_of_threads_callers_and_forks_gives_the_same():
    outputs = {
        subprocess.run(
            [sys.executable, "-c", SHARED],
            env=os.environ | {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads},
            check=True,
            capture_output=True,
            text=True,
            timeout=100,
        ).stdout
        for threads in ("1", "2", "4")
    }
    assert len(outputs) == 1


def test_as_many_threads_as_the_first_number_of_a_list(monkeypatch):
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    for text, number in (("3,1", 3), (" 2 ", 2), ("1,1", 1)):
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        assert threads._default() == number
    monkeypatch.delenv("OMP_NUM_THREADS")
    number = threads._default()
    for text in ("", "0", ",2", "all"):
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        assert threads._default() == number
