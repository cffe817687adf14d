"""A second implementation of docs/format.md, in pure Python, that shares nothing with mcbits but that page.

    python mcbits_reader.py FILE.mcb [MODEL ...]               prints what the file holds
    python mcbits_reader.py FILE.mcb -o FOLDER [MODEL ...]     writes its pictures and files into a new folder

It needs this file, Python 3.11 or newer, and nothing else. Of version 1 it prints the number of images, their shape and
SHA-256, and writes 0.png, 1.png, ...; of version 2 it prints the entries, and writes them under their names, but
arrays, which are no files, as NUMBER.npy. Models are given where none is embedded.

`read` and `Collection` decode a file's bytes; sections named in comments are those of the page. It is written to be
compared with the page, not to be fast.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import struct
import sys
import zlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from hashlib import sha256
from itertools import accumulate
from math import floor, inf, prod, sqrt
from operator import mul
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

Json = dict[str, Any]
Known = tuple[tuple[int, ...], int, int]
Item = Sequence[int]
Groups = list[tuple[int, int]]  # of a block, for each group the number of its kind and how many items it has
Decoded = tuple[list[Sequence[Any]], Callable[[bytes], bool]]  # its items, and whether a digest begins with these bytes
Number = TypeVar("Number", int, float)

# Section 1

MASK, GOLDEN = (1 << 64) - 1, 0x9E3779B97F4A7C15


class Discrete(Protocol):
    """A cdf in units of 2^-r, and the symbol that holds a quantile."""

    r: int

    def cdf(self, k: int) -> int: ...

    def symbol(self, v: int) -> int: ...


class Damaged(Exception):
    """The file or the model breaks a rule of the page, or the model is missing."""


def need(condition: object, message: str = "the file or the model is damaged") -> None:
    if not condition:
        raise Damaged(message)


def rhu(v: int, s: int) -> int:
    return (v + ((1 << s) >> 1)) >> s


def mix(x: int) -> int:
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & MASK
    x = (x ^ x >> 27) * 0x94D049BB133111EB & MASK
    return x ^ x >> 31


def clamp(v: Number, low: Number, high: Number) -> Number:
    return min(max(v, low), high)


# Sections 2 and 3

DICTIONARY = (
    b'"num_steps":"lprec":32,"bprec":32}simplestochasticbb-cisbb-isbb-elbo'
    b'{"block_size":2048,"coder":"bb-is","dtype":"uint8","lanes":1,"options":{"num_particles":50},"precisions":'
    b'{"bprec":32,"cond_mprec":16,"index_mprec":24,"log_num_bucket":8,"lprec":32,"prior_mprec":8,"prop_mprec":16},'
    b'"ramp":100,"refinement":{"lr":0.01,"steps":50},"shape":[28,28]}'
)


class Bytes:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, size: int) -> bytes:
        self.at += size
        need(self.at <= len(self.data))
        return self.data[self.at - size : self.at]

    def integer(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def leb128(self, most: int = 9) -> int:
        value = 0
        for shift in range(0, 7 * most, 7):
            digit = self.integer(1)
            value |= (digit & 127) << shift
            if digit < 128:
                return value
        raise Damaged("the file or the model is damaged")

    def text(self) -> bytes:
        return self.take(self.leb128())

    def check_crc(self, begin: int, prefix: bytes = b"") -> None:
        expected = zlib.crc32(prefix + self.data[begin : self.at])
        need(self.integer(4) == expected)


def inflated(data: bytes, most: int, dictionary: bytes = b"") -> bytes:
    """What a raw deflate stream of `most` bytes or fewer holds."""
    stream = zlib.decompressobj(-15, zdict=dictionary) if dictionary else zlib.decompressobj(-15)
    text = stream.decompress(data, most + 1)
    need(stream.eof and not stream.unused_data and len(text) <= most)
    return text


def model_of(model_id: bytes, embedded: bytes, given: Sequence[bytes | None]) -> bytes:
    """The embedded model, or the one given, whose id begins so."""
    for model in [embedded] if embedded else given:
        if model is not None and sha256(model).digest().startswith(model_id):
            return model
    raise Damaged(f"the file needs the model whose id begins with {model_id.hex()}")


def read(blob: bytes, *models: bytes | None) -> tuple[Json, list[bytes]]:
    """Header and images (bytes, C order) of a file; the frozen model's bytes are given where none is embedded."""
    file = Bytes(blob)
    need(file.take(5) == b"\x89mcb\x01")
    text = inflated(file.take(file.integer(2)), 65536, DICTIONARY)
    model_id, embedded = file.take(32), file.take(file.integer(4))
    file.check_crc(0)
    header = json.loads(text)
    codec, images = Codec(header, *load(model_of(model_id, embedded, models))), []
    number = 0
    while (size := file.integer(4)) != 0xFFFFFFFF:
        need(size <= 1 << 30)
        begin = file.at
        payload = file.take(size)
        file.check_crc(begin, struct.pack("<Q", number))
        images += codec.decode(payload)
        number += 1
    begin = file.at - 4
    count, digest = file.integer(8), file.take(32)
    file.check_crc(begin)
    need(file.at == len(blob))
    need(count == len(images) and sha256(b"".join(images)).digest() == digest)
    return header, images


# Section 4


class Codec:
    def __init__(self, header: Json, meta: Json, networks: dict[str, Network]) -> None:
        self.header, self.p = header, header["precisions"]
        self.sizes = -(-self.p["bprec"] // 8), -(-(self.p["lprec"] + self.p["bprec"]) // 8)
        self.without_latents: Pixels | None = None
        made = make_model(meta, networks, header)
        if isinstance(made, Pixels):
            self.without_latents = made
        else:
            self.model = made
        self.most = {"bool": 1, "uint8": 255, "uint16": 65535}[header["dtype"]]
        self.decode_one = {
            "simple": self.simple,
            "stochastic": self.simple,
            "bb-elbo": self.bb_elbo,
            "bb-is": self.bb_is,
            "bb-cis": self.bb_cis,
        }[header["coder"]]
        need(header["ramp"] == 0 or header["coder"] == "bb-is")

    def decode(self, payload: bytes) -> list[bytes]:
        source = Bytes(payload)
        n = source.leb128()
        need(1 <= n <= self.header["block_size"])
        (size, head_size), L = self.sizes, min(self.header["lanes"], n)
        starts = [(source.integer(head_size), source.leb128(), source.leb128()) for _ in range(L)]
        lanes = [
            Lane(head, [source.integer(size) for _ in range(words)], drawn, self.p) for head, words, drawn in starts
        ]
        need(source.at == len(payload))
        images = self.pop(lanes, n, 0)
        need(all(len(lane.words) == lane.drawn for lane in lanes))
        need(max(map(max, images)) <= self.most)
        bits = 16 if self.header["dtype"] == "uint16" else 8
        return [packed_row(image, bits, "<") for image in images]

    def steps(self, n: int, L: int) -> int:
        return 1 if self.without_latents else -(-n // L)

    def pop(self, lanes: list[Lane], n: int, first: int) -> list[Item]:
        """n images, whose steps have the numbers from `first` on."""
        images: list[Item] = [()] * n
        if self.without_latents:
            for number, lane in enumerate(lanes):
                lane.begin(first)
                mine = range(number, n, len(lanes))
                for i, x in zip(mine, Neighbours(self.without_latents, [[]] * len(mine)).pop(lane)):
                    images[i] = x
            return images
        L = len(lanes)
        for t in reversed(range(self.steps(n, L))):
            for i in range(t * L, min((t + 1) * L, n)):
                lanes[i % L].begin(first + t)
                images[i] = self.decode_one(lanes[i % L], first + t)
        return images

    def particles(self, t: int) -> int:
        N: int = self.header["options"]["num_particles"]
        ramp: int = self.header["ramp"]
        return min(N, 1 + t * ramp // 256) if ramp else N

    # Section 8

    def simple(self, lane: Lane, t: int) -> list[int]:
        z = pop_all(lane, self.model.prior())
        return self.model.likelihood(z).pop(lane)

    def bb_elbo(self, lane: Lane, t: int) -> list[int]:
        z = pop_all(lane, self.model.prior())
        x = self.model.likelihood(z).pop(lane)
        push_all(lane, self.model.posterior(x), z)
        return x

    def bb_is(self, lane: Lane, t: int) -> list[int]:
        N, index = self.particles(t), self.header["precisions"]["index_mprec"]
        last = pop_all(lane, self.model.prior())
        x = self.model.likelihood(last).pop(lane)
        j = lane.pop(Uniform(N, index))
        q = self.model.posterior(x)
        z = [pop_all(lane, q) for _ in range(N - 1)] + [last]
        z[j], z[-1] = z[-1], z[j]
        lane.push(weights(self.log_weights(q, x, z), index), j)
        for z_i in reversed(z):
            push_all(lane, q, z_i)
        return x

    def bb_cis(self, lane: Lane, t: int) -> list[int]:
        N, p = self.header["options"]["num_particles"], self.header["precisions"]
        index, r, D = p["index_mprec"], p["prop_mprec"], self.model.latents
        z_j = pop_all(lane, self.model.prior())
        x = self.model.likelihood(z_j).pop(lane)
        j = lane.pop(Uniform(N, index))
        q = self.model.posterior(x)
        within = [Uniform(q_m.cdf(k + 1) - q_m.cdf(k), min(r + 8, p["lprec"], 30)) for q_m, k in zip(q, z_j)]
        u_j = [q_m.cdf(k) + v for q_m, k, v in zip(q, z_j, pop_all(lane, within))]
        s = [[mix((1 + i * D + m) * GOLDEN & MASK) >> 64 - r if i else 0 for m in range(D)] for i in range(N)]
        u = [[(u_j[m] - s[j][m] + s_i[m]) % (1 << r) for m in range(D)] for s_i in s]
        z = [[q_m.symbol(v) for q_m, v in zip(q, u_i)] for u_i in u]
        lane.push(weights(self.log_weights(q, x, z), index), j)
        push_all(lane, [Uniform(1 << r, r)] * D, u[0])
        return x

    def log_weights(self, q: Sequence[Discrete], x: list[int], z: list[list[int]]) -> list[int]:
        p_z, model = self.model.prior(), self.model
        return [codelength(q, z_i) - codelength(p_z, z_i) - model.likelihood(z_i).codelength(x) for z_i in z]


# Section 5


class Lane:
    def __init__(self, head: int, words: list[int], drawn: int, precisions: dict[str, int]) -> None:
        self.head, self.words, self.drawn, self.Q = head, words, drawn, 0
        self.l, self.b = precisions["lprec"], precisions["bprec"]
        need(head >> self.l and not head >> self.l + self.b)
        need(all(word >> self.b == 0 for word in words))

    def begin(self, t: int) -> None:
        new = mix(t + 1)
        self.head ^= self.head_pad(self.Q) ^ self.head_pad(new)
        self.Q = new

    def end(self) -> None:
        """Begin a step of Q' = 0."""
        self.head ^= self.head_pad(self.Q)
        self.Q = 0

    def head_pad(self, Q: int) -> int:
        return mix(Q) >> 72 - self.l if Q and self.l > 8 else 0

    def pad(self) -> int:
        return mix(self.Q + (len(self.words) - self.drawn) * GOLDEN & MASK) >> 64 - self.b if self.Q else 0

    def push(self, d: Discrete, symbol: int) -> None:
        start = d.cdf(symbol)
        freq = d.cdf(symbol + 1) - start
        need(freq > 0)
        while self.head >> self.l + self.b - d.r >= freq:
            self.words.append(self.head % (1 << self.b) ^ self.pad())
            self.head >>= self.b
        self.head = (self.head // freq << d.r) + self.head % freq + start

    def pop(self, d: Discrete) -> int:
        quantile = self.head % (1 << d.r)
        symbol = d.symbol(quantile)
        start = d.cdf(symbol)
        self.head = (d.cdf(symbol + 1) - start) * (self.head >> d.r) + quantile - start
        while self.head >> self.l == 0:
            need(self.words)
            word = self.words.pop()
            self.head = self.head << self.b | word ^ self.pad()
        return symbol


def pop_all(lane: Lane, distributions: Sequence[Discrete]) -> list[int]:
    return [lane.pop(d) for d in distributions]


def push_all(lane: Lane, distributions: Sequence[Discrete], symbols: list[int]) -> None:
    for d, symbol in zip(reversed(distributions), reversed(symbols)):
        lane.push(d, symbol)


# Section 6: Python's floats are IEEE doubles, and CPython rounds each operation.

LN2_HI, LN2_LO, LN2 = 6.93147180369123816490e-01, 1.90821492927058770002e-10, 6.93147180559945309417e-01
LOG2_E, SQRT_HALF, INV_SQRT_2PI = 1.44269504088896338700, 7.07106781186547524401e-01, 3.98942280401432677940e-01


def exp(x: float) -> float:
    if x > 709.79:
        return inf
    if x < -745.2:
        return 0.0
    n = int(x * LOG2_E + 0.5) if x >= 0 else int(x * LOG2_E - 0.5)
    r = (x - n * LN2_HI) - n * LN2_LO
    s = 1.0
    for i in range(14, 0, -1):
        s = 1 + s * r / i
    half = int(n / 2)
    return s * 2.0**half * 2.0 ** (n - half)


def log2(x: float) -> float:
    pattern: int
    (pattern,) = struct.unpack("<Q", struct.pack("<d", x))
    e = (pattern >> 52) - 1023
    m: float
    (m,) = struct.unpack("<d", struct.pack("<Q", pattern & (1 << 52) - 1 | 1023 << 52))
    if m > 2 * SQRT_HALF:
        m, e = m * 0.5, e + 1
    s = (m - 1) / (m + 1)
    q = s * s
    t = 0.0
    for i in range(25, 0, -2):
        t = t * q + 1 / i
    return e + 2 * s * t * LOG2_E


def density(x: float) -> float:
    h = int(x * 16) / 16
    return INV_SQRT_2PI * exp(-0.5 * h * h) * exp(-0.5 * (x - h) * (x + h))


def ndtr(x: float) -> float:
    a = abs(x)
    if a > 38.6:
        return 1.0 if x > 0 else 0.0
    if a < 2:
        term = total = x
        for i in range(3, 80, 2):
            term = term * x * x / i
            total = total + term
        return 0.5 + density(x) * total
    c = 0.0
    for i in range(100, 0, -1):
        c = i / (a + c)
    c = density(a) / (a + c)
    return 1 - c if x > 0 else c


def ndtri(p: float) -> float:
    if p in (0, 0.5, 1):
        return {0: -inf, 0.5: 0.0, 1: inf}[p]
    if p > 0.5:
        return -ndtri(1 - p)
    t = sqrt(-2 * log2(p) / LOG2_E)
    x = (2.515517 + t * (0.802853 + t * 0.010328)) / (1 + t * (1.432788 + t * (0.189269 + t * 0.001308))) - t
    for _ in range(3):
        e = (ndtr(x) - p) / density(x)
        x = x - e / (1 + 0.5 * x * e)
    return x


P = [0.0] + [int(ndtr((k - 2048) / 256) * 2.0**48) / 2.0**48 for k in range(1, 4096)] + [1.0, 1.0]
G = [int(log2(1 + k / 2048) * 2.0**32 + 0.5) for k in range(2049)]


def phi(t: float) -> float:
    u = clamp(t * 256 + 2048, 0.0, 4096.0)
    k = int(u)
    return P[k] + (u - k) * (P[k + 1] - P[k])


L = [0.0] + [int(1 / (1 + exp(-((k - 1024) / 64))) * 2.0**48) / 2.0**48 for k in range(1, 2048)] + [1.0, 1.0]
W = [exp(i / 256 * LN2) for i in range(256)]


def logistic(u: float) -> float:
    u = clamp(u, 0.0, 2048.0)
    i = int(u)
    return L[i] + (u - i) * (L[i + 1] - L[i])


def power(x: int) -> float:
    return W[x % 256] * 2.0 ** (x // 256)


@cache
def log2_fixed(n: int) -> int:
    e = n.bit_length() - 1
    m = (n << 64 - e) & MASK
    k, f = m >> 53, (m >> 33) % (1 << 20)
    return (e << 16) + (G[k] + ((G[k + 1] - G[k]) * f >> 20) + (1 << 15) >> 16)


# Section 7


def codelength(distributions: Sequence[Discrete], symbols: list[int]) -> int:
    return sum((d.r << 16) - log2_fixed(d.cdf(k + 1) - d.cdf(k)) for d, k in zip(distributions, symbols))


class Uniform:
    def __init__(self, n: int, r: int) -> None:
        self.n, self.r = n, r
        need(1 <= n <= 1 << r)

    def cdf(self, k: int) -> int:
        return (k << self.r) // self.n

    def symbol(self, v: int) -> int:
        return ((v + 1) * self.n - 1) >> self.r


class Table:
    """A cdf in a list."""

    def __init__(self, F: list[int], r: int) -> None:
        self.F, self.r = F, r

    def cdf(self, k: int) -> int:
        return self.F[k]

    def symbol(self, v: int) -> int:
        return bisect_right(self.F, v) - 1


def categorical(w: list[int], r: int) -> Table:
    K, W = len(w), float(sum(w))
    need(0 < W < 2.0**53 and len(w) <= 1 << r)
    scale = float((1 << r) - K) / W
    return Table([k + int(below * scale) for k, below in enumerate(accumulate(w[:-1], initial=0))] + [1 << r], r)


def weights(log_w: list[int], r: int) -> Table:
    largest = max(log_w)
    return categorical([int(2.0**30 * exp((each - largest) * (LN2 / 65536))) for each in log_w], r)


@cache
def bernoulli(a: int, r: int) -> Table:
    a, whole = clamp(a, -4096, 4095), 1 << r
    f = 1 + int((whole - 2) * (1 / (1 + exp(-a / 256))))
    return Table([0, whole - f, whole], r)


class Searched:
    """A distribution whose symbol is found by halving, since its cdf never falls."""

    K: int

    def cdf(self, k: int) -> int:
        raise NotImplementedError

    def symbol(self, v: int) -> int:
        low, high = 0, self.K
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self.cdf(middle) <= v else (low, middle)
        return low


class Gaussian(Searched):
    def __init__(self, mean: int, log_scale: int, B: int, r: int) -> None:
        self.K, self.r, self.edges = 1 << B, r, edges(B)
        self.mean, self.inverse = mean * 2.0**-12, exp(clamp(log_scale, -2048, 2048) * -(2.0**-8))

    def cdf(self, k: int) -> int:
        if k in (0, self.K):
            return k // self.K << self.r
        return int(2.0**self.r * phi((self.edges[k] - self.mean) * self.inverse))


@cache
def edges(B: int) -> list[float]:
    return [ndtri(k / (1 << B)) for k in range((1 << B) + 1)]


class Rising(Searched):
    """F(k) = k + trunc(min(V_k, 2^r - K))."""

    def __init__(self, V: Callable[[int], float], K: int, r: int) -> None:
        self.V, self.K, self.r = V, K, r
        need(K <= 1 << r)

    def cdf(self, k: int) -> int:
        if k in (0, self.K):
            return k // self.K << self.r
        return k + int(min(self.V(k), float((1 << self.r) - self.K)))


def tree(terms: list[float]) -> float:
    t = terms + [0.0] * (8 - len(terms))
    return ((t[0] + t[4]) + (t[1] + t[5])) + ((t[2] + t[6]) + (t[3] + t[7]))


def powers(logits: list[int]) -> list[float]:
    return [power(a - max(logits)) if a - max(logits) >= -16384 else 0.0 for a in logits]


def mixture(a: list[int], mu: list[int], s: list[int], base: int, unit: int, K: int, r: int) -> Rising:
    w = powers(a)
    share = ((1 << r) - K) / tree(w)
    slopes = [power(-clamp(s_m + 256 * unit, -1536, 4352)) * 64 for s_m in s]
    offsets = [1024 - (base + m * (2.0**unit / 256) + 0.5) * slope for m, slope in zip(mu, slopes)]
    logistics = [(w_m * share, slope, offset) for w_m, slope, offset in zip(w, slopes, offsets)]
    return Rising(lambda k: tree([v * logistic(k * slope + offset) for v, slope, offset in logistics]), K, r)


def coin(a: int, r: int) -> Rising:
    return Rising(lambda _: ((1 << r) - 2) * logistic(a * (-LN2 / 4) + 1024), 2, r)


def choice(a: list[int], r: int) -> Rising:
    S, K = [0.0], len(a)
    for w in powers(a):
        S.append(S[-1] + w)
    return Rising(lambda k: S[k] / S[K] * ((1 << r) - K), K, r)


# Section 9

FORMATS = {"I8": "b", "I16": "h", "I32": "i", "I64": "q"}
LIMIT = 1 << 30


class Tensor(NamedTuple):
    shape: Sequence[int]
    flat: Sequence[int]

    def rows(self) -> list[Sequence[int]]:
        width = self.shape[1]
        return [self.flat[i * width : (i + 1) * width] for i in range(self.shape[0])]

    def at(self, *index: int) -> int:
        position = 0
        for i, n in zip(index, self.shape):
            position = position * n + i
        return self.flat[position]

    def channels(self) -> list[Sequence[int]]:
        """Of a weight, the numbers that each output channel multiplies."""
        if len(self.shape) == 1:
            return [(v,) for v in self.flat]
        groups, width = self.shape[0] if len(self.shape) == 5 else 1, self.shape[-1]
        size = len(self.flat) // groups
        return [self.flat[g * size + o : (g + 1) * size : width] for g in range(groups) for o in range(width)]


def stored_tensor(entry: Json, data: bytes) -> Tensor:
    (begin, end), shape, code = entry["data_offsets"], entry["shape"], FORMATS[entry["dtype"]]
    need(end - begin == prod(shape) * struct.calcsize(code) and 0 <= begin <= end <= len(data))
    return Tensor(shape, struct.unpack(f"<{prod(shape)}{code}", data[begin:end]))


def load(data: bytes) -> tuple[Json, dict[str, Network]]:
    """The metadata and the networks of a model file."""
    if data.startswith(PACKED):
        return Unpacking(data).model()
    (length,) = struct.unpack("<Q", data[:8])
    entries = json.loads(data[8 : 8 + length])
    head = json.loads(entries.pop("__metadata__")["mcbits"])
    need(head["format"] in (1, 2))
    tensors = {name: stored_tensor(entry, data[8 + length :]) for name, entry in entries.items()}
    return head["meta"], {name: Network(name, spec, tensors) for name, spec in head["networks"].items()}


class Network:
    """A value is a flat list in C order; `known` has (shape, frac, bound) of each."""

    def __init__(self, name: str, spec: Json, tensors: dict[str, Tensor]) -> None:
        self.inputs, self.layers, self.outputs = spec["inputs"], spec["layers"], spec["outputs"]
        self.known: list[Known] = [(tuple(x["shape"]), x["frac"], x["bound"]) for x in self.inputs]
        self.weights: dict[int, tuple[Tensor, Sequence[int]]] = {}
        self.columns: dict[int, list[Sequence[int]]] = {}
        self.tables: dict[int, Sequence[int]] = {}
        for k, layer in enumerate(self.layers):
            need(all(0 <= i < len(self.known) for i in layer["inputs"]))
            if layer["op"] == "lookup":
                self.tables[k] = tensors[f"{name}.table.{layer['table']}"].flat
            if layer["op"] in ("linear", "conv2d", "conv_transpose2d", "affine"):
                w, bias = tensors[f"{name}.{k}.weight"], tensors[f"{name}.{k}.bias"].flat
                self.weights[k], self.columns[k] = (w, bias), w.channels()
                need(len(self.columns[k]) == len(bias))
                known = self.multiplied(k, layer, *self.known[layer["inputs"][0]])
            else:
                known = self.result(k, layer, [self.known[i] for i in layer["inputs"]])
            need(layer.get("bound", known[2]) == known[2] and known[2] >> 53 == 0)
            self.known.append(known)

    def multiplied(self, k: int, layer: Json, shape: tuple[int, ...], f: int, bound: int) -> Known:
        """Shape, frac and bound of the result of a layer with a weight."""
        (w, bias), op = self.weights[k], layer["op"]
        size = w.shape
        sums = [sum(map(abs, column)) for column in self.columns[k]]
        if op == "linear":
            need(shape == (size[0],))
            shape = (size[1],)
        elif op == "affine":
            need(shape[0] == len(bias))
        elif op == "conv2d":
            groups, *kernel, C, width = size
            need(shape[0] == groups * C)
            steps = zip(shape[1:], layer["padding"], layer["dilation"], kernel, layer["stride"])
            shape = (groups * width, *((n + 2 * p - d * (side - 1) - 1) // s + 1 for n, p, d, side, s in steps))
        else:
            groups, C, *kernel, width = size
            need(shape[0] == groups * C)
            steps = zip(shape[1:], layer["stride"], kernel, layer["output_padding"], layer["padding"])
            shape = (groups * width, *((n - 1) * s + side + o - 2 * p for n, s, side, o, p in steps))
            (high, wide), (s0, s1) = kernel, layer["stride"]
            sums = [
                max(
                    sum(abs(v) for i, v in enumerate(column) if (i // wide % high % s0, i % wide % s1) == (a, b))
                    for a in range(s0) for b in range(s1)
                )
                for column in self.columns[k]
            ]  # fmt: skip
        reach = [total * bound + abs(b) for total, b in zip(sums, bias)]
        if shifts := layer.get("shifts"):
            need(len(shifts) == len(reach) and max(reach) >> 24 == 0)
            reach = list(map(rhu, reach, shifts))
        return shape, f + layer["frac"], max(reach)

    def result(self, k: int, layer: Json, given: list[Known]) -> Known:
        """Shape, frac and bound of the result of a layer without one."""
        (shape, f, bound), op = given[0], layer["op"]
        if op == "scale":
            return shape, f + layer["bits"], bound << layer["bits"]
        if op == "reshape":
            need(prod(layer["shape"]) == prod(shape))
            return tuple(layer["shape"]), f, bound
        if op == "slice":
            need(0 <= layer["start"] < layer["stop"] <= shape[0])
            return (layer["stop"] - layer["start"], *shape[1:]), f, bound
        if op in ("add", "multiply"):
            _, (other, g, more) = given
            need(other == shape and (op == "multiply" or g == f))
            return (shape, f, bound + more) if op == "add" else (shape, f + g, bound * more)
        if op == "round":
            e = rhu(bound, f - layer["frac"])
            return shape, layer["frac"], max(abs(clamp(v, layer["low"], layer["high"])) for v in (e, -e))
        need(op == "lookup")
        table, low, e = self.tables[k], layer["low"], rhu(bound, f - layer["index_frac"])
        top = low + len(table) - 1
        need(low <= e and top >= -e)
        reach = max(map(abs, table[clamp(-e, low, top) - low : clamp(e, low, top) - low + 1]))
        if layer["identity_above"] and e > top:
            reach = max(reach, rhu(bound, f - layer["frac"]))
        return shape, layer["frac"], reach

    def run(self, *inputs: list[int]) -> tuple[list[list[int]], list[list[int]]]:
        """All values, and the outputs."""
        values = list(inputs)
        for k, layer in enumerate(self.layers):
            args = [values[i] for i in layer["inputs"]]
            value = getattr(self, layer["op"])(k, layer, self.known[layer["inputs"][0]], *args)
            if shifts := layer.get("shifts"):
                size = len(value) // len(shifts)
                value = [rhu(v, shifts[i // size]) for i, v in enumerate(value)]
            values.append(value)
        outs = []
        for o in self.outputs:
            shift = self.known[o["value"]][1] - o["frac"]
            outs.append([clamp(rhu(v, shift), -LIMIT, LIMIT) for v in values[o["value"]]])
        return values, outs

    def linear(self, k: int, layer: Json, known: Known, x: list[int]) -> list[int]:
        return [b + sum(map(mul, x, column)) for column, b in zip(self.columns[k], self.weights[k][1])]

    def conv2d(self, k: int, layer: Json, known: Known, x: list[int]) -> list[int]:
        (w, bias), (_, H, W), (out, rows, cols) = self.weights[k], known[0], self.known[len(self.inputs) + k][0]
        groups, high, wide, C, width = w.shape
        (s0, s1), (p0, p1), (d0, d1) = layer["stride"], layer["padding"], layer["dilation"]
        y = []
        for channel in range(out):
            g, o = divmod(channel, width)
            taps = [
                (a * d0 - p0, b * d1 - p1, (g * C + c) * H, w.at(g, a, b, c, o))
                for a in range(high) for b in range(wide) for c in range(C)
            ]  # fmt: skip
            for i in range(rows):
                for j in range(cols):
                    total = bias[channel]
                    for a, b, base, weight in taps:
                        r, c = i * s0 + a, j * s1 + b
                        if 0 <= r < H and 0 <= c < W:
                            total += x[(base + r) * W + c] * weight
                    y.append(total)
        return y

    def conv_transpose2d(self, k: int, layer: Json, known: Known, x: list[int]) -> list[int]:
        (w, bias), (_, H, W), (out, rows, cols) = self.weights[k], known[0], self.known[len(self.inputs) + k][0]
        groups, C, high, wide, width = w.shape
        (s0, s1), (p0, p1) = layer["stride"], layer["padding"]
        y = [bias[channel] for channel in range(out) for _ in range(rows * cols)]
        for channel in range(out):
            g, o = divmod(channel, width)
            for c in range(C):
                for i in range(H):
                    for j in range(W):
                        value = x[((g * C + c) * H + i) * W + j]
                        for a in range(high):
                            for b in range(wide):
                                r, q = i * s0 + a - p0, j * s1 + b - p1
                                if 0 <= r < rows and 0 <= q < cols:
                                    y[(channel * rows + r) * cols + q] += value * w.at(g, c, a, b, o)
        return y

    def affine(self, k: int, layer: Json, known: Known, x: list[int]) -> list[int]:
        w, bias = self.weights[k]
        size = prod(known[0][1:])
        return [bias[i // size] + w.flat[i // size] * v for i, v in enumerate(x)]

    def scale(self, k: int, layer: Json, known: Known, x: list[int]) -> list[int]:
        return [v << layer["bits"] for v in x]

    def add(self, k: int, layer: Json, known: Known, a: list[int], b: list[int]) -> list[int]:
        return [v + w for v, w in zip(a, b)]

    def multiply(self, k: int, layer: Json, known: Known, a: list[int], b: list[int]) -> list[int]:
        return [v * w for v, w in zip(a, b)]

    def reshape(self, k: int, layer: Json, known: Known, x: list[int]) -> list[int]:
        return x

    def slice(self, k: int, layer: Json, known: Known, x: list[int]) -> list[int]:
        size = prod(known[0][1:])
        return x[layer["start"] * size : layer["stop"] * size]

    def round(self, k: int, layer: Json, known: Known, x: list[int]) -> list[int]:
        return [clamp(rhu(v, known[1] - layer["frac"]), layer["low"], layer["high"]) for v in x]

    def lookup(self, k: int, layer: Json, known: Known, x: list[int]) -> list[int]:
        table, low, shift = self.tables[k], layer["low"], known[1] - layer["index_frac"]
        top, above = low + len(table) - 1, known[1] - layer["frac"]
        indices = [rhu(v, shift) for v in x]
        if layer["identity_above"]:
            return [table[max(i, low) - low] if i <= top else rhu(v, above) for i, v in zip(indices, x)]
        return [table[clamp(i, low, top) - low] for i in indices]


# Section 10


class Likelihood(Protocol):
    def pop(self, lane: Lane) -> list[int]: ...

    def codelength(self, x: list[int]) -> int: ...


class Independent:
    """p(x|z) of dimensions that do not see each other."""

    def __init__(self, distributions: Sequence[Discrete]) -> None:
        self.distributions = distributions

    def pop(self, lane: Lane) -> list[int]:
        return pop_all(lane, self.distributions)

    def codelength(self, x: list[int]) -> int:
        return codelength(self.distributions, x)


class Observation:
    """The name of an observation and its options."""

    def __init__(self, meta: Json) -> None:
        self.name: str = meta["observation"]
        defaults = {"bernoulli": {}, "categorical": {"symbols": 256}, "logistic": {"M": 5, "symbols": 256, "unit": 5}}
        need(self.name in defaults)
        own = {**defaults[self.name], **meta.get("observation_options", {})}
        need(own.keys() == defaults[self.name].keys() and all(type(v) is int for v in own.values()))
        self.K, self.M, self.unit = own.get("symbols", 2), own.get("M", 1), own.get("unit", 0)
        need(2 <= self.K <= (65536 if self.name == "logistic" else 256) and 1 <= self.M <= 8 and 0 <= self.unit <= 16)
        self.parameters = {"bernoulli": 1, "categorical": self.K, "logistic": 3 * self.M}[self.name]

    def pixel(self, given: list[int], base: int, r: int) -> Discrete:
        if self.name == "logistic":
            M = self.M
            return mixture(given[:M], given[M : 2 * M], given[2 * M :], base, self.unit, self.K, r)
        return coin(given[0], r) if self.name == "bernoulli" else choice(given, r)


class VAE:
    def __init__(self, meta: Json, networks: dict[str, Network], header: Json) -> None:
        precisions, refinement = header["precisions"], header.get("refinement")
        self.observation, self.shape = Observation(meta), meta["shape"]
        self.p, self.dims = precisions, prod(self.shape)
        need(header["shape"] in (list(self.shape), [self.dims]))
        need(self.observation.name == "bernoulli" or not refinement)
        self.encoder, self.decoder = networks["encoder"], networks["decoder"]
        self.latents = prod(self.decoder.inputs[0]["shape"])
        B = precisions["log_num_bucket"]
        medians = [ndtri((z + 0.5) / (1 << B)) for z in range(1 << B)]
        self.centres = [floor(clamp(m, -4.0, 4.0) * 256 + 0.5) for m in medians]
        self.refiner = Refiner(self, **refinement) if refinement else None

    def prior(self) -> Sequence[Discrete]:
        return [Uniform(1 << self.p["log_num_bucket"], self.p["prior_mprec"])] * self.latents

    def posterior(self, x: list[int]) -> Sequence[Discrete]:
        _, (mean, log_scale) = self.encoder.run(x)
        if self.refiner:
            mean, log_scale = self.refiner.refine(x, mean, log_scale)
        B, r = self.p["log_num_bucket"], self.p["prop_mprec"]
        return [Gaussian(m, s, B, r) for m, s in zip(mean, log_scale)]

    def likelihood(self, z: list[int]) -> Likelihood:
        _, (given,) = self.decoder.run([self.centres[k] for k in z])
        r, d = self.p["cond_mprec"], self.dims
        need(len(given) == self.observation.parameters * d)
        if self.observation.name == "bernoulli":
            return Independent([bernoulli(clamp(a, -4096, 4095), r) for a in given])
        return Independent([self.observation.pixel(given[i::d], self.observation.K // 2, r) for i in range(d)])


# Section 11


def philox(count: int) -> list[int]:
    words: list[int] = []
    block = 0
    while len(words) < count:
        block += 1
        (c0, c1, c2, c3), k0, k1 = (block, 0, 0, 0), 0, 0
        for _ in range(10):
            a, b = 0xD2E7470EE14C6C93 * c0, 0xCA5A826395121157 * c2
            c0, c1, c2, c3 = b >> 64 ^ c1 ^ k0, b & MASK, a >> 64 ^ c3 ^ k1, a & MASK
            k0, k1 = k0 + GOLDEN & MASK, k1 + 0xBB67AE8584CAA73B & MASK
        words += [c0, c1, c2, c3]
    return words[:count]


class Refiner:
    def __init__(self, vae: VAE, steps: int, lr: float) -> None:
        self.decoder, D, self.lr = vae.decoder, vae.latents, lr
        noise = [ndtri(((word >> 12) + 0.5) * 2.0**-52) for word in philox(steps * D)]
        self.noise = [noise[k * D : (k + 1) * D] for k in range(steps)]
        # What is walked backwards: divisions by 2^c and rows, or a value and the slope at it.
        self.chain: list[tuple[Any, list[Sequence[int]] | None, Callable[[int], int] | None]] = []
        self.exponent, bound = 0, 4096
        value = self.decoder.outputs[0]["value"]
        while value > 0:
            k = value - 1
            layer = self.decoder.layers[k]
            (value,) = layer["inputs"]
            _, f, reach = self.decoder.known[value]
            if layer["op"] == "linear":
                rows = self.decoder.weights[k][0].rows()
                A = max(sum(map(abs, row)) for row in rows)
                shifts = layer.get("shifts") or [0] * len(rows[0])
                bound <<= max(shifts)
                c = max(0, (bound * A).bit_length() + 1 - 53)
                bound = ((bound >> c) + 1) * A
                need(bound < 1 << 53)
                self.exponent += c - layer["frac"] - max(shifts)
                self.chain.append(([c + shift - max(shifts) for shift in shifts], rows, None))
            elif layer["op"] == "lookup":
                slope = self.slopes(layer, self.decoder.tables[k], f)
                e, edge = rhu(reach, f - layer["index_frac"]), layer["low"] + len(self.decoder.tables[k]) - 1
                H = 1 << layer["index_frac"] - 3
                first, last = (clamp(end, layer["low"] - H, edge + H) for end in (-e, e))
                bound *= max(abs(slope(i << f - layer["index_frac"])) for i in range(first, last + 1))
                self.exponent -= layer["frac"] - 2
                self.chain.append((value, None, slope))
            elif layer["op"] == "round" and layer["low"] == 0:
                self.chain.append((value, None, lambda x: int(x > 0)))
            else:
                need(layer["op"] in ("round", "scale"))

    @staticmethod
    def slopes(layer: Json, table: Sequence[int], f: int) -> Callable[[int], int]:
        low: int = layer["low"]
        top, H = low + len(table) - 1, 1 << layer["index_frac"] - 3
        rise: float = 2.0 ** (layer["frac"] - layer["index_frac"]) if layer["identity_above"] else 0.0

        def T(k: int) -> float:
            return table[max(k, low) - low] if k <= top else table[-1] + rise * (k - top)

        @cache
        def slope(k: int) -> int:
            return round(T(k + H) - T(k - H))

        return lambda x: slope(clamp(rhu(x, f - layer["index_frac"]), low - H, top + H))

    def gradient(self, x: list[int], z: list[float]) -> list[float]:
        values, (logits,) = self.decoder.run([clamp(round(v * 256), -1024, 1024) for v in z])
        h: list[float] = [v * 4096 - sigmoid(clamp(a, -4096, 4095)) for v, a in zip(x, logits)]
        for what, rows, slope in self.chain:
            if rows is not None:
                a = [round(v * 2.0**-c) for v, c in zip(h, what)]
                h = [float(sum(map(mul, a, row))) for row in rows]
            elif slope is not None:
                h = [v * slope(given) for v, given in zip(h, values[what])]
        return [v * 2.0**self.exponent * 2.0**-12 for v in h]

    def refine(self, x: list[int], mean: list[int], log_scale: list[int]) -> tuple[list[int], list[int]]:
        D, eta = len(mean), self.lr
        phi = [clip(m * 2.0**-12) for m in mean] + [clip(s * 2.0**-8) for s in log_scale]
        M, V, B1, B2 = [0.0] * 2 * D, [0.0] * 2 * D, 1.0, 1.0
        for noise in self.noise:
            mu, sigma = phi[:D], [exp(v) for v in phi[D:]]
            delta = [s * e for s, e in zip(sigma, noise)]
            U = self.gradient(x, [m + d for m, d in zip(mu, delta)])
            W = self.gradient(x, [m - d for m, d in zip(mu, delta)])
            g = [0.5 * (u + w) - m for u, w, m in zip(U, W, mu)]
            g += [0.5 * (u - w) * d + 1 - s * s for u, w, d, s in zip(U, W, delta, sigma)]
            B1, B2 = B1 * 0.9, B2 * 0.999
            M = [0.9 * m + (1 - 0.9) * v for m, v in zip(M, g)]
            V = [0.999 * m + (1 - 0.999) * (v * v) for m, v in zip(V, g)]
            phi = [
                clip(old + eta * (m / (1 - B1)) / (sqrt(v / (1 - B2)) + 1e-8)) for old, m, v in zip(phi, M, V)
            ]  # fmt: skip
        return [round(v * 2.0**12) for v in phi[:D]], [round(v * 2.0**8) for v in phi[D:]]


def clip(v: float) -> float:
    return clamp(v, -8.0, 8.0)


@cache
def sigmoid(a: int) -> int:
    return round(4096 / (1 + exp(-a / 256)))


# Section 12

ORDER = {1: (0,), 2: (1, 0), 3: (1, 0, 2), 4: (3, 1, 0, 2)}


class Pixels:
    """Class `pixels`, and what pictures of class `pixel VAE` have in common with it."""

    def __init__(self, meta: Json, networks: dict[str, Network], header: Json, shape: list[int]) -> None:
        self.observation, self.R, self.r = Observation(meta), meta["radius"], header["precisions"]["cond_mprec"]
        need(2 <= len(shape) <= 3 and 2 <= len(meta["shape"]) <= 3 and 2 <= self.R <= 16)
        self.h, self.w, self.C = (*shape, 1)[:3]
        need(self.C in ORDER and (*meta["shape"], 1)[2] == self.C)
        self.heads = [networks[f"head{c}"] for c in range(self.C)]
        for head in self.heads:
            need(len(head.inputs) == len(head.outputs) == 1)
            need(head.inputs[0]["frac"] == 0 and head.outputs[0]["frac"] == 8)
        self.inputs: list[list[int]] = []
        if self.observation.name != "logistic":
            self.inputs = meta["inputs"]
            need(len(self.inputs) == self.observation.K + 1 and len({len(row) for row in self.inputs}) == 1)
            need(all(type(v) is int and abs(v) <= 1023 for row in self.inputs for v in row))


class Neighbours:
    """The pictures of one lane. features[i]: of picture i, F h w numbers or none."""

    def __init__(self, model: Pixels, features: list[list[int]]) -> None:
        self.m, self.features, n = model, features, len(features)
        self.x = [[[[-1] * model.C for _ in range(model.w)] for _ in range(model.h)] for _ in range(n)]

    def order(self) -> list[tuple[int, int, int, int]]:
        """(channel, picture, row, column) of each sample."""
        m, found = self.m, []
        for t in range(m.w + (m.R + 1) * (m.h - 1)):
            rows = [y for y in range(m.h) if 0 <= t - (m.R + 1) * y < m.w]
            for c in range(m.C):
                found += [(c, i, y, t - (m.R + 1) * y) for i in range(len(self.x)) for y in rows]
        return found

    def sample(self, i: int, y: int, x: int, c: int) -> int:
        if x < 0:
            y, x = y - 1, 0
        if y < 0:
            return 0 if self.m.observation.name == "logistic" else self.m.observation.K
        value = self.x[i][y][min(x, self.m.w - 1)][c]
        assert value >= 0  # a context that is not known yet would be an error of this reader
        return value

    def read(self, d: int) -> int:
        return clamp(rhu(d, max(0, self.m.observation.unit - 3)), -1023, 1023)

    def distribution(self, c: int, i: int, y: int, x: int) -> Discrete:
        m, R, K, here = self.m, self.m.R, self.m.observation.K, self.x[i][y][x]
        context = [(y + a, x + b) for a in range(-R, 1) for b in range(-R, R + 1 if a < 0 else 0)]
        known = [self.sample(i, *place, k) for place in context for k in range(m.C)]
        row: list[int] = []
        bases = [0] * m.C
        if m.inputs:
            for s in known:
                row += m.inputs[s]
        else:
            first = 1 - m.C % 2
            p, later = [], []
            for k in range(m.C):
                W, N, NW = self.sample(i, y, x - 1, k), self.sample(i, y - 1, x, k), self.sample(i, y - 1, x - 1, k)
                p.append(clamp(W + N - NW, min(W, N), max(W, N)))
                NE, WW, NN = self.sample(i, y - 1, x + 1, k), self.sample(i, y, x - 2, k), self.sample(i, y - 2, x, k)
                v = 1 + abs(W - NW) + abs(N - NW) + abs(N - NE) + abs(W - WW) + abs(N - NN)
                e = v.bit_length() - 1
                later += [p[k] - K // 2 >> max(0, (K - 1).bit_length() - 8), 4 * e + (4 * v >> e) % 4]
            row = [self.read(s - p[j % m.C]) for j, s in enumerate(known)] + later
            bases = [p[k] if k <= first or c <= first else p[k] + here[first] - p[first] for k in range(m.C)]
        row += [(2 * y + 1) * 32 // m.h - 32, (2 * x + 1) * 32 // m.w - 32]
        row += self.features[i][y * m.w + x :: m.h * m.w]
        for k in range(c):
            row += m.inputs[here[k]] if m.inputs else [self.read(clamp(here[k] - bases[k], 1 - K, K - 1))]
        head = m.heads[c]
        need(len(row) == prod(head.inputs[0]["shape"]) and max(map(abs, row)) <= head.inputs[0]["bound"])
        _, (given,) = head.run(row)
        need(len(given) == m.observation.parameters)
        return m.observation.pixel(given, bases[c], m.r)

    def pop(self, lane: Lane) -> list[list[int]]:
        for c, i, y, x in self.order():
            self.x[i][y][x][c] = lane.pop(self.distribution(c, i, y, x))
        back = sorted(range(self.m.C), key=ORDER[self.m.C].__getitem__)
        return [[pixel[c] for row in picture for pixel in row for c in back] for picture in self.x]

    def codelength(self, pictures: list[list[int]]) -> int:
        m, total = self.m, 0
        for picture, x in zip(self.x, pictures):
            for y in range(m.h):
                for column in range(m.w):
                    at = (y * m.w + column) * m.C
                    picture[y][column] = [x[at + k] for k in ORDER[m.C]]
        for c, i, y, column in self.order():
            total += codelength([self.distribution(c, i, y, column)], [self.x[i][y][column][c]])
        return total


class OnePicture:
    """p(x|z) of class `pixel VAE`."""

    def __init__(self, pixels: Pixels, features: list[int]) -> None:
        self.pixels, self.features = pixels, features

    def pop(self, lane: Lane) -> list[int]:
        return Neighbours(self.pixels, [self.features]).pop(lane)[0]

    def codelength(self, x: list[int]) -> int:
        return Neighbours(self.pixels, [self.features]).codelength([x])


class PixelVAE(VAE):
    def __init__(self, meta: Json, networks: dict[str, Network], header: Json) -> None:
        super().__init__(meta, networks, header)
        need("refinement" not in header and self.dims > 0)
        self.pixels = Pixels(meta, networks, header, meta["shape"])

    def likelihood(self, z: list[int]) -> Likelihood:
        _, (features,) = self.decoder.run([self.centres[k] for k in z])
        need(self.decoder.outputs[0]["frac"] == 7 and len(features) % (self.pixels.h * self.pixels.w) == 0)
        return OnePicture(self.pixels, [clamp(v, -1023, 1023) for v in features])


def make_model(meta: Json, networks: dict[str, Network], header: Json) -> VAE | Pixels:
    if meta.get("class") == "pixels":
        need(header["coder"] == "simple" and "refinement" not in header)
        need(header["block_size"] <= 2048)
        need(header["block_size"] == 1 or header["block_size"] * prod(header["shape"]) <= 1 << 20)
        return Pixels(meta, networks, header, header["shape"])
    need(meta.get("class") in (None, "pixel VAE"))
    return (PixelVAE if "class" in meta else VAE)(meta, networks, header)


# Section 15

PACKED = b"\x93mcm\x03"
PACKED_DICTIONARY = (
    b'"stride":[1,1],"weight":[1,3,3,32,32]},{"bits":13,"op":"scale"},{"inputs":[8,7],"op":"add"},{"op":"reshape","s'
    b'hape":[1,28,28]},{"op":"slice","start":0,"stop":1},{"frac":22,"op":"affine"{"dilation":[1,1],"frac":13,"op":"c'
    b'onv2d","padding":[1,1],{"frac":13,"op":"conv_transpose2d","output_padding":[0,0],"identity_above":true,"identi'
    b'ty_above":false,"index_frac":10,"low":-4096,"op":"lookup","table":0},"tables":{"0":8192}},"shifts":1,{"meta":{'
    b'"observation":"bernoulli","shape":[28,28]},"networks":{"decoder":{"inputs":[{"bound":1024,"frac":8,"encoder":{'
    b'"inputs":[{"bound":1,"frac":0,"shape":[784]}],"layers":[{"frac":13,"op":"linear","weight":[784,200]},"outputs"'
    b':[{"frac":12,"kind":"linear","value":5},{"meta":{"class":"pixel VAE","inputs":[[-1],[1],[0]],"observation":"ca'
    b'tegorical","observation_options":{"symbols":2},"radius":2,"shape":[0,0,3]},"networks":{"head3":{"meta":{"class'
    b'":"pixels","observation":"logistic","observation_options":{"M":5,"symbols":256,"unit":0},"radius":3,"shape":[0'
    b',0]},"networks":{"head0":{"inputs":[{"bound":1023,"frac":0,"shape":[30]}],"layers":[{"frac":17,"op":"linear","'
    b'weight":[30,32]},{"frac":8,"high":32512,"low":0,"op":"round"},{"frac":12,"op":"linear","weight":[32,32]},{"fra'
    b'c":8,"high":32512,"low":0,"op":"round"},{"frac":12,"op":"linear","weight":[32,15]}],"outputs":[{"frac":8,"kind'
    b'":"linear","value":5}]},"head1":{"inputs":[{"bound":1023,"frac":0,"shape":[31]}],"layers":[{"frac":17,"op":"li'
    b'near","weight":[31,32]}'
)


class Unpacking:
    """A packed model that is being read."""

    def __init__(self, data: bytes) -> None:
        file = Bytes(data[len(PACKED) :])
        self.description: Json = json.loads(inflated(file.take(file.leb128(5)), 65536, PACKED_DICTIONARY))
        need(self.description.keys() == {"meta", "networks"})
        head = file.integer(5)
        self.lane = Lane(head, list(file.data[file.at :]), 0, {"lprec": 32, "bprec": 8})
        self.left = (1 << 20) + 64 * len(data)
        self.tables: list[Sequence[int]] = []

    def model(self) -> tuple[Json, dict[str, Network]]:
        networks = {name: self.network(name, spec) for name, spec in sorted(self.description["networks"].items())}
        need(not self.lane.words and self.lane.head == 1 << 32)
        return self.description["meta"], networks

    def network(self, name: str, spec: Json) -> Network:
        tensors: dict[str, Tensor] = {}
        for k, layer in enumerate(spec["layers"]):
            need("bound" not in layer)
            layer.setdefault("inputs", [len(spec["inputs"]) + k - 1])
            if layer["op"] in ("linear", "conv2d", "conv_transpose2d", "affine"):
                shape = layer["weight"]
                n = shape[-1] * (shape[0] if len(shape) == 5 else 1)
                tensors[f"{name}.{k}.weight"] = Tensor(shape, self.weight(shape))
                tensors[f"{name}.{k}.bias"] = Tensor((n,), self.matrix(n, 1))
                if layer.get("shifts") is not None:
                    layer["shifts"] = self.vector(n)
        for number, n in sorted((int(number), n) for number, n in spec.get("tables", {}).items()):
            tensors[f"{name}.table.{number}"] = Tensor((n,), self.table(n))
        return Network(name, spec, tensors)

    def weight(self, shape: list[int]) -> list[int]:
        need(all(type(n) is int and n >= 1 for n in shape) and len(shape) in (1, 2, 5))
        if len(shape) < 5:
            return self.matrix(shape[0], prod(shape[1:]))
        A, B, C, D, E = shape
        found = self.matrix(B * C * D, A * E)
        return [found[(row * A + a) * E + e] for a in range(A) for row in range(B * C * D) for e in range(E)]

    def table(self, n: int) -> Sequence[int]:
        need(type(n) is int and n >= 1)
        if same := self.number():
            need(same <= len(self.tables) and len(self.tables[same - 1]) == n)
            return self.tables[same - 1]
        d = self.number()
        found = self.matrix(n, 1) if d <= 2 else []
        need(found and max(map(abs, found)) * n**d < 1 << 62)
        for _ in range(d):
            found = list(accumulate(found))
        self.tables.append(found)
        return found

    def spend(self, elements: int) -> None:
        self.left -= elements
        need(self.left >= 0)

    def bits(self, n: int, count: int = 1) -> list[int]:
        values = [0] * count
        for at in range(0, n, 16):
            c = min(16, n - at)
            part = Uniform(1 << c, c)
            values = [value | self.lane.pop(part) << at for value in values]
        return values

    def number(self) -> int:
        length = self.lane.pop(LENGTHS)
        return 1 << length - 1 | self.bits(length - 1)[0] if length else 0

    def signed(self) -> int:
        v = self.number()
        return -(v + 1) // 2 if v % 2 else v // 2

    def symbols(self, n: int, M: int, a: int, b: int) -> list[int]:
        low = max(0, (a - 16) // 4 - 5, M.bit_length() - 11)
        H = rhu(M, low)
        self.spend(2 * H + 1)
        t = [log2(k) - ((a - 16) / 4 - low) for k in range(1, H + 1)]
        w = [int(exp(-exp(t_k * (LN2 * (b / 8)))) * 2.0**30) for t_k in t]
        F = categorical([*reversed(w), 1 << 30, *w], 20)
        u = [self.lane.pop(F) - H for _ in range(n)]
        return [(v << low) - (1 << low >> 1) + r for v, r in zip(u, self.bits(low, n))]

    def vector(self, n: int) -> list[int]:
        self.spend(n)
        m, M = self.signed(), self.number()
        need(abs(m) >> 55 == 0 and M >> 55 == 0)
        if M == 0:
            return [m] * n
        a = self.number()
        need(a < 128)
        return [m + v for v in self.symbols(n, M, a, 8)]

    def matrix(self, rows: int, columns: int) -> list[int]:
        """Its elements in C order."""
        self.spend(rows * columns)
        p, q = self.vector(rows), self.vector(columns)
        need(min(p) >= 0 and min(q) >= 0 and max(p) + max(q) <= 53)
        found, M = [0] * (rows * columns), self.number()
        if M == 0:
            return found
        rho, gamma, c, b = self.vector(rows), self.vector(columns), self.signed(), self.number()
        need(1 <= b <= 63)
        classes: dict[int, list[int]] = {}
        for i in range(rows):
            for j in range(columns):
                classes.setdefault(clamp(c + rho[i] + gamma[j], 0, 127), []).append(i * columns + j)
        for a, places in sorted(classes.items()):
            for place, value in zip(places, self.symbols(len(places), M, a, b)):
                found[place] = value
        need(max(map(abs, found)) << max(p) + max(q) < 1 << 62)
        return [value << p[at // columns] + q[at % columns] for at, value in enumerate(found)]


LENGTHS = Table([0] + [7 + k for k in range(1, 58)], 6)


# Section 16

BITS = {0: 1, 1: 8, 2: 16, 3: 8}
TYPES = ("bool", "uint8", "uint16", "bytes")


def packed_row(samples: Item, bits: int, order: str = ">") -> bytes:
    """Samples as bytes, the first one in the highest bits; of 16 bits in the order of struct."""
    if bits == 16:
        return struct.pack(f"{order}{len(samples)}H", *samples)
    if bits == 8:
        return bytes(samples)
    each = 8 // bits
    row = bytearray(-(-len(samples) // each))
    for i, sample in enumerate(samples):
        row[i // each] |= sample << 8 - bits * (1 + i % each)
    return bytes(row)


class Kind(NamedTuple):
    type: int
    shape: tuple[int, ...]
    table: list[int] | None

    def size(self) -> int:
        """The bytes of an item."""
        return -(-prod(self.shape) * BITS[self.type] // 8)

    def unpacked(self, data: bytes) -> Sequence[Any]:
        """The items that these bytes are: of bytes these bytes."""
        if self.type == 3:
            return data
        size, n = self.size(), prod(self.shape)
        parts = [data[at : at + size] for at in range(0, len(data), size)]
        if self.type == 0:
            need(not any(part[-1] & (1 << -n % 8) - 1 for part in parts))
            return [[part[i // 8] >> 7 - i % 8 & 1 for i in range(n)] for part in parts]
        return parts if self.type == 1 else [struct.unpack(f"<{n}H", part) for part in parts]

    def packed(self, items: Sequence[Any]) -> bytes:
        if self.type == 3:
            return bytes(items)
        return b"".join(packed_row(item, BITS[self.type], "<") for item in items)


class Form(NamedTuple):
    kind: int
    n: int
    way: int
    wrapper: int


class Block(NamedTuple):
    length: int
    items: int
    model: int
    crc: int
    digest: bytes


class Collection:
    """A file of version 2: what its index says, and the items of its entries."""

    def __init__(self, blob: bytes, *models: bytes) -> None:
        self.blob, self.given = blob, models
        need(blob[:5] == b"\x89mcb\x02")
        end = Bytes(blob[:-10:-1])
        size, deflated = divmod(end.leb128(), 2)
        begin = len(blob) - end.at - 4 - size
        need(begin >= 5)
        packed = blob[begin : begin + size]
        need(zlib.crc32(blob[:5] + packed) == int.from_bytes(blob[begin + size : begin + size + 4], "little"))
        self.read_index(Bytes(inflated(packed, 1 << 27) if deflated else packed))
        payloads = sum(block.length for block in self.blocks)
        need(5 + payloads + sum(length for _, length, _ in self.models) == begin)
        self.embedded_at = list(accumulate((length for _, length, _ in self.models), initial=5 + payloads))
        self.codec, self.loaded = cache(self.make_codec), cache(self.load_model)

    def read_index(self, index: Bytes) -> None:
        def rows() -> range:
            return range(index.leb128())

        self.models = [(index.take(8), index.leb128(), index.text()) for _ in rows()]
        tables = [self.read_table(index) for _ in rows()]
        self.kinds = [self.read_kind(index, tables) for _ in rows()]
        self.wrappers = [index.text() for _ in rows()]
        self.forms = [Form(*(index.leb128() for _ in range(4))) for _ in rows()]
        for form in self.forms:
            need(form.kind < len(self.kinds) and form.wrapper <= len(self.wrappers) and form.n < 1 << 48)
            need(form.way <= 3 and (form.way == 0) == (self.kinds[form.kind].type == 3))
        count = index.leb128()
        need(count <= 1 << 22)
        form_of, self.sources = self.read_runs(index, count), self.read_runs(index, count)
        need(all(number < len(self.forms) for number in form_of))
        self.entries = [self.forms[number] for number in form_of]
        for i, source in enumerate(self.sources):
            need(source <= i and (source == 0 or self.sources[i - source] == 0))
            need(self.entries[i - source][:2] == self.entries[i][:2])
        self.names = list(self.read_names(index, count))
        self.blocks = [
            Block(index.leb128(), index.leb128(), index.leb128(), index.integer(4), index.take(4)) for _ in rows()
        ]
        need(index.at == len(index.data))
        for block in self.blocks:
            need(block.length <= 1 << 30 and block.items >= 1 and block.model <= len(self.models))

    @staticmethod
    def read_table(index: Bytes) -> list[int]:
        K = index.leb128()
        need(2 <= K <= 1 << 16)
        values = list(accumulate(index.leb128() for _ in range(K)))
        need(all(a < b for a, b in zip(values, values[1:])) and values[-1] < 1 << 16)
        return values

    @staticmethod
    def read_kind(index: Bytes, tables: list[list[int]]) -> Kind:
        kind = index.leb128()
        need(kind <= 3)
        if kind == 3:
            return Kind(3, (), None)
        h, w, C, table = (index.leb128() for _ in range(4))
        need(h >= 1 and w >= 1 and C <= 1 << 16 and h * w * max(C, 1) <= 1 << 30 and table <= len(tables))
        return Kind(kind, (h, w, C) if C else (h, w), tables[table - 1] if table else None)

    @staticmethod
    def read_runs(index: Bytes, count: int) -> list[int]:
        runs = [(index.leb128(), index.leb128()) for _ in range(index.leb128())]
        need(not runs or sum(length for length, _ in runs) == count)
        return [value for length, value in runs for _ in range(length)] if runs else [0] * count

    @staticmethod
    def read_names(index: Bytes, count: int) -> Iterator[bytes]:
        name = b""
        for _ in range(count):
            if v := index.leb128():
                need(v - 1 <= len(name))
                name = name[: v - 1] + index.text()
            else:
                last = re.search(rb"(?<![0-9])[0-9]{1,18}(?=[^0-9]*\Z)", name)
                if last is None:
                    raise Damaged("the last number of a name is missing")
                name = name[: last.start()] + b"%0*d" % (len(last[0]), int(last[0]) + 1) + name[last.end() :]
            need(len(name) < 1 << 16)
            yield name

    def groups(self) -> list[Groups]:
        """The groups of each block."""
        left, found = [0] * len(self.kinds), []
        for form, source in zip(self.entries, self.sources):
            left[form.kind] += 0 if source else form.n
        kind = 0
        for block in self.blocks:
            missing, group = block.items, []
            while missing:
                while kind < len(left) and left[kind] == 0:
                    kind += 1
                need(kind < len(left))
                n = min(missing, left[kind])
                group.append((kind, n))
                missing, left[kind] = missing - n, left[kind] - n
            samples = sum(n * prod(self.kinds[k].shape) for k, n in group)
            if {self.kinds[k].type for k, _ in group} == {3}:
                need(block.model == 0 and samples <= 1 << 20)
            else:
                need(all(self.kinds[k].type < 3 for k, _ in group) and block.items <= 2048)
                need(block.items == 1 or samples <= 1 << 20)
            found.append(group)
        need(not any(left))
        return found

    def items(self) -> list[Sequence[Any]]:
        """Of each entry its items, or if it has bytes these."""
        own: list[Any] = [bytearray() if kind.type == 3 else [] for kind in self.kinds]
        at = 5
        for block, groups in zip(self.blocks, self.groups()):
            payload = self.blob[at : at + block.length]
            at += block.length
            need(zlib.crc32(payload) == block.crc)
            found, known = self.coded(payload, block.model, groups) if block.model else self.stored(payload, groups)
            for (kind, _), items in zip(groups, found):
                own[kind] += items
            data = b"".join(self.kinds[kind].packed(items) for (kind, _), items in zip(groups, found))
            digest = sha256(data).digest()
            need(known(digest[:4]) and digest[4:8] == block.digest)
        done, entries = [0] * len(self.kinds), list[Sequence[Any]]()
        for i, (form, source) in enumerate(zip(self.entries, self.sources)):
            if source:
                entries.append(entries[i - source])
                continue
            first = done[form.kind]
            done[form.kind] += form.n
            entries.append(own[form.kind][first : done[form.kind]])
        return entries

    def stored(self, payload: bytes, groups: Groups) -> Decoded:
        sizes = [n * self.kinds[kind].size() for kind, n in groups]
        data = Bytes(inflated(payload[4:], sum(sizes)))
        found = [self.kinds[kind].unpacked(data.take(size)) for (kind, _), size in zip(groups, sizes)]
        return found, lambda begin: begin == payload[:4]

    def coded(self, payload: bytes, model: int, groups: Groups) -> Decoded:
        codecs = [self.codec(model, kind) for kind, _ in groups]
        any_one, source, most = codecs[0], Bytes(payload), codecs[0].header["lanes"]
        (size, head_size), L = any_one.sizes, min(most, max(n for _, n in groups))
        drawn = [0 if any_one.without_latents else source.leb128() for _ in range(L)]
        words = [source.leb128() for _ in range(L - 1)]
        heads = [source.integer(head_size) for _ in range(L)]
        rest, odd = divmod(len(payload) - source.at - size * sum(words), size)
        need(rest >= 0 and not odd)
        lanes = [
            Lane(head, [source.integer(size) for _ in range(n)], first, any_one.p)
            for head, n, first in zip(heads, [*words, rest], drawn)
        ]
        steps = [codec.steps(n, min(most, n)) for codec, (_, n) in zip(codecs, groups)]
        found: list[Sequence[Any]] = []
        for codec, (kind, n), first in reversed(list(zip(codecs, groups, accumulate(steps, initial=0)))):
            pictures, table = codec.pop(lanes[: min(most, n)], n, first), self.kinds[kind].table
            if table:
                need(max(map(max, pictures)) < len(table) and table[-1] <= codec.most)
                pictures = [[table[k] for k in picture] for picture in pictures]
            need(max(map(max, pictures)) <= codec.most)
            found.insert(0, pictures)
        for lane in lanes:
            lane.end()
            need(len(lane.words) == lane.drawn)
        head, whole = lanes[0].head, 1 << any_one.p["lprec"]
        return found, lambda begin: head == whole + int.from_bytes(begin, "little") % whole

    def load_model(self, number: int) -> tuple[Json, dict[str, Network]]:
        (model_id, length, _), at = self.models[number - 1], self.embedded_at[number - 1]
        return load(model_of(model_id, self.blob[at : at + length], self.given))

    def make_codec(self, number: int, kind: int) -> Codec:
        (meta, networks), text = self.loaded(number), self.models[number - 1][2]
        settings: Json = json.loads(text) if text else {}
        need(settings.keys() <= {"coder", "options", "precisions", "lanes", "ramp", "refinement"})
        precisions = {
            "lprec": 32, "bprec": 32, "log_num_bucket": 8, "prior_mprec": 8, "prop_mprec": 16, "index_mprec": 24,
            **settings.get("precisions", {}),
        }  # fmt: skip
        observation = Observation(meta)
        wanted = 16 if observation.name == "bernoulli" else min(30, (observation.K - 1).bit_length() + 14)
        precisions.setdefault("cond_mprec", min(wanted, precisions["lprec"]))
        header = {"coder": "simple", "options": {}, "lanes": 1, "ramp": 0, "block_size": 1} | settings
        header |= {
            "precisions": precisions,
            "shape": list(self.kinds[kind].shape),
            "dtype": TYPES[self.kinds[kind].type],
        }
        return Codec(header, meta, networks)


# Section 17


def rows_of(item: Item, height: int) -> list[Item]:
    width = len(item) // height
    return [item[y * width : (y + 1) * width] for y in range(height)]


def png(item: Item, shape: Sequence[int], wrapper: bytes) -> bytes:
    W, chunks = Bytes(wrapper), []
    depth, colour = W.integer(1), W.integer(1)
    while W.at < len(wrapper):
        chunks.append((W.take(4), W.take(W.integer(4))))
        need(chunks[-1][0].isalpha() and chunks[-1][0] not in (b"IHDR", b"IEND"))
    need([content for kind, content in chunks if kind == b"IDAT"] == [b""])
    need({0: 1, 2: 3, 3: 1, 4: 2, 6: 4}.get(colour) == (*shape, 1)[2])
    need(depth in {0: (1, 2, 4, 8, 16), 3: (1, 2, 4, 8)}.get(colour, (8, 16)) and max(item) >> depth == 0)
    header = struct.pack(">IIBBBBB", shape[1], shape[0], depth, colour, 0, 0, 0)
    samples = zlib.compress(b"".join(b"\0" + packed_row(row, depth) for row in rows_of(item, shape[0])), 9)
    found = b"\x89PNG\r\n\x1a\n"
    for kind, content in [(b"IHDR", header), *chunks, (b"IEND", b"")]:
        body = kind + (samples if kind == b"IDAT" else content)
        found += struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return found


def framed(items: Sequence[Item], shape: Sequence[int], wrapper: bytes) -> bytes:
    W = Bytes(wrapper)
    bits, flags, align = W.integer(1), W.integer(1), W.integer(1)
    need(bits in (1, 8, 16) and flags <= 15 and 1 <= align <= 8 and max(map(max, items)) >> bits == 0)
    pieces = [(W.leb128(), W.leb128()) for _ in range(W.leb128())]
    (h, w, C), samples = (*shape, 1)[:3], bytearray()
    channels = [2, 1, 0, *range(3, C)] if flags & 8 and C >= 3 else list(range(C))
    for item in items:
        for plane in [[c] for c in channels] if flags & 4 else [channels]:
            for row in rows_of(item, h)[:: -1 if flags & 2 else 1]:
                line = packed_row([row[x * C + c] for x in range(w) for c in plane], bits, ">" if flags & 1 else "<")
                samples += line + bytes(-len(line) % align)
    need(sum(literal for literal, _ in pieces) == len(wrapper) - W.at and sum(n for _, n in pieces) == len(samples))
    rest = Bytes(bytes(samples))
    return b"".join(W.take(literal) + rest.take(n) for literal, n in pieces)


def npy(items: Sequence[Item], shape: Sequence[int], dtype: str) -> bytes:
    """A file of numpy's (version 1.0) of an array of these items."""
    code, bits = {"bool": ("|b1", 8), "uint8": ("|u1", 8), "uint16": ("<u2", 16)}[dtype]
    need(max(map(max, items)) <= {"bool": 1, "uint8": 255, "uint16": 65535}[dtype])
    head = f"{{'descr': '{code}', 'fortran_order': False, 'shape': {(len(items), *shape)}, }}"
    head += " " * (-(len(head) + 11) % 64) + "\n"
    data = b"".join(packed_row(item, bits, "<") for item in items)
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head.encode() + data


def restored(way: int, shape: Sequence[int], wrapper: bytes, items: Sequence[Any]) -> bytes:
    """The file of an entry; of an array, which is none, one of numpy's."""
    if way == 0:
        need(not wrapper)
        return bytes(items)
    need(len(items) == 1 or (way > 1 and items))
    if way == 1:
        return png(items[0], shape, wrapper)
    return framed(items, shape, wrapper) if way == 2 else npy(items, shape, wrapper.decode())


def files_of(blob: bytes, *models: bytes) -> list[tuple[bytes, bytes]]:
    """Name and bytes of all that a file restores to; a name that ends in a slash is an empty folder."""
    if blob[4:5] == b"\2":
        held, found = Collection(blob, *models), list[tuple[bytes, bytes]]()
        for name, form, items in zip(held.names, held.entries, held.items()):
            wrapper = [b"", *held.wrappers][form.wrapper]
            data = restored(form.way, held.kinds[form.kind].shape, wrapper, items)
            found.append((b"%d.npy" % len(found) if form.way == 3 else name, data))
        return found
    header, images = read(blob, *models)
    shape, dtype = header["shape"], header["dtype"]
    unpacked = [struct.unpack(f"<{prod(shape)}{'H' if dtype == 'uint16' else 'B'}", image) for image in images]
    colour = {1: 0, 2: 4, 3: 2, 4: 6}.get((*shape, 1)[2]) if 2 <= len(shape) <= 3 else None
    if colour is None:
        return [(b"images.npy", npy(unpacked, shape, dtype))]
    depth = 16 if dtype == "uint16" else 1 if dtype == "bool" and colour == 0 else 8
    wrapper = bytes([depth, colour]) + b"IDAT" + bytes(4)
    return [(b"%d.png" % i, png(image, shape, wrapper)) for i, image in enumerate(unpacked)]


def write(folder: Path, files: list[tuple[bytes, bytes]]) -> None:
    """Write files into a folder that does not exist."""
    for name, data in files:
        parts = name.removesuffix(b"/").split(b"/")
        safe = not any(part in (b"", b".", b"..") for part in parts) and b"\0" not in name
        need(safe and (os.sep == "/" or not re.search(rb"[\\:]", name)), f"the name {name!r} leads out of the folder")
        need(not name.endswith(b"/") or not data)
    need(len({name for name, _ in files}) == len(files), "two files have one name")
    folder.mkdir()
    for name, data in files:
        path = os.path.join(os.fsencode(folder), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if not name.endswith(b"/"):
            with open(path, "xb") as file:
                file.write(data)


def contents(blob: bytes, *models: bytes) -> Iterator[str]:
    """What a file holds, in lines."""
    if blob[4:5] == b"\1":
        header, images = read(blob, *models)
        yield f"{len(images)} {header['shape']} {sha256(b''.join(images)).hexdigest()}"
        return
    held = Collection(blob)
    for name, form in zip(held.names, held.entries):
        kind, text = held.kinds[form.kind], name.decode("utf-8", "backslashreplace")
        size = " x ".join(map(str, (form.n, *kind.shape)))
        yield f"{text if text.isprintable() else repr(text)}  {size} {TYPES[kind.type]}"


def main() -> None:
    parser = argparse.ArgumentParser(description="Read a .mcb file: without -o, say what it holds.")
    parser.add_argument("file", type=Path, metavar="FILE.mcb")
    parser.add_argument("models", type=Path, metavar="MODEL", nargs="*", help="frozen models that are not embedded")
    parser.add_argument("-o", dest="folder", type=Path, metavar="FOLDER", help="write all into this folder, a new one")
    given = parser.parse_intermixed_args()
    try:
        blob, *models = (path.read_bytes() for path in (given.file, *given.models))
        if given.folder is None:
            print(*contents(blob, *models), sep="\n")
        else:
            need(not given.folder.exists(), f"{given.folder} exists: give the name of a new folder")
            write(given.folder, files_of(blob, *models))
    except (Damaged, OSError) as error:
        sys.exit(f"error: {error}")
    except Exception as error:  # whatever else damage makes of numbers, texts and lists
        sys.exit(f"error: the file or the model is damaged ({type(error).__name__}: {error})")


if __name__ == "__main__":
    main()
