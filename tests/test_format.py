"""docs/format.md is complete: a reader written from it alone decodes every golden file, and its figures are mcbits'."""

import ast
import json
import re
import sys
from pathlib import Path

import corpus
import mcbits_reader as reader
import numpy as np
import pytest

from mcbits.archive import format as container
from mcbits.core import numerics
from mcbits.core.codelengths import codelengths
from mcbits.core.mixture import Family
from mcbits.distributions import Bernoulli, Categorical, GaussianBuckets, Uniform
from mcbits.distributions.coupling import integer_shifts
from mcbits.distributions.gaussian import equal_mass_centres

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "format.md").read_text()
FILES = json.loads(corpus.CORPUS.read_text())["files"]
CHECK_VALUES = re.findall(r"^\| `(.+)` \| `(.+)` \|$", PAGE.partition("## 14.")[2], re.MULTILINE)


def one(function):
    return lambda x: float(function(np.array([x], np.float64))[0]).hex()


def int32(value):
    return np.array([[value]], np.int32)


def family(kind, parameters, r, *, base=0, K=2, M=1, unit=0):
    """F(0) ... F(K), by mcbits."""
    symbols = np.arange(K, dtype=np.int32)
    rows = np.tile(np.array(parameters, np.int32), (K, 1))
    starts, freqs = Family(kind, K, M, unit).intervals(rows, base, symbols, r)
    np.testing.assert_array_equal(starts[1:], (starts + freqs)[:-1])
    return [*starts.tolist(), int(starts[-1] + freqs[-1])]


MCBITS = {
    "exp": one(numerics.exp_array),
    "log2": one(numerics.log2_array),
    "ndtr": one(numerics.ndtr_array),
    "ndtri": one(numerics.ndtri_array),
    "length": lambda freq, r: int(codelengths(np.array([freq], np.uint64), r)[0]),
    "uniform": lambda n, r: Uniform(n, (1, 1), r).cdf()[0, 0].tolist(),
    "categorical": lambda w, r: Categorical([[w]], r).cdf()[0, 0].tolist(),
    "weights": lambda log_w, r: Categorical.from_log2(np.array([log_w]), r).cdf()[0, 0].tolist(),
    "bernoulli": lambda a, r: Bernoulli(int32(a), r).cdf()[0, 0].tolist(),
    "gaussian": lambda m, s, B, r: GaussianBuckets(int32(m), int32(s), B, r, leaky=False).cdf()[0, 0].tolist(),
    "mixture": lambda a, m, s, base, unit, K, r: family(
        "logistic", [*a, *m, *s], r, base=base, K=K, M=len(a), unit=unit
    ),
    "coin": lambda a, r: family("bernoulli", [a], r),
    "choice": lambda a, r: family("categorical", a, r, K=len(a)),
    "centre": lambda z, B: int(equal_mass_centres(1 << B)[z]),
    "shift": lambda i, m, D, r: int(integer_shifts(i + 1, D)[i, m] >> np.uint32(32 - r)),
    "philox": lambda n: np.random.Philox(key=0).random_raw(n).tolist(),
}


def cdf(distribution, num_symbols):
    return [distribution.cdf(k) for k in range(num_symbols + 1)]


READER = {
    **{f.__name__: lambda x, f=f: float(f(x)).hex() for f in (reader.exp, reader.log2, reader.ndtr, reader.ndtri)},
    "length": lambda freq, r: (r << 16) - reader.log2_fixed(freq),
    "uniform": lambda n, r: cdf(reader.Uniform(n, r), n),
    "categorical": lambda w, r: reader.categorical(w, r).F,
    "weights": lambda log_w, r: reader.weights(log_w, r).F,
    "bernoulli": lambda a, r: reader.bernoulli(a, r).F,
    "gaussian": lambda m, s, B, r: cdf(reader.Gaussian(m, s, B, r), 1 << B),
    "mixture": lambda *given: cdf(reader.mixture(*given), given[5]),
    "coin": lambda a, r: cdf(reader.coin(a, r), 2),
    "choice": lambda a, r: cdf(reader.choice(a, r), len(a)),
    "centre": lambda z, B: reader.floor(reader.clamp(reader.ndtri((z + 0.5) / (1 << B)), -4.0, 4.0) * 256 + 0.5),
    "shift": lambda i, m, D, r: reader.mix((1 + i * D + m) * reader.GOLDEN & reader.MASK) >> 64 - r,
    "philox": reader.philox,
}


def test_the_independent_reader_imports_only_the_standard_library():
    tree = ast.parse(Path(reader.__file__).read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {(node.module or "").split(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported <= sys.stdlib_module_names


@pytest.mark.parametrize("name", FILES)
def test_the_independent_reader_decodes_every_golden_file(name):
    model = None if FILES[name]["arguments"].get("embed_model") else corpus.model_bytes(FILES[name]["model"])
    header, images = reader.read((corpus.FOLDER / name).read_bytes(), model)
    expected = corpus.job_images(FILES[name])
    assert (header["dtype"], tuple(header["shape"])) == (str(expected.dtype), expected.shape[1:])
    assert b"".join(images) == expected.tobytes()


@pytest.mark.parametrize("name", corpus.networks())
def test_the_page_describes_every_layer(name):
    network = corpus.networks()[name]
    inputs = [x[:5] for x in corpus.inputs_of(network)]
    mine = reader.load(corpus.lzma.decompress(corpus.NETWORKS.read_bytes()))[1][name]
    for row, outs in enumerate(zip(*network.run(*inputs), strict=True)):
        values, found = mine.run(*(x[row].astype(int).ravel().tolist() for x in inputs))
        assert found == [out.ravel().tolist() for out in outs]
        assert all(max(map(abs, v)) <= bound for v, (_, _, bound) in zip(values, mine.known, strict=True))


def test_the_page_has_check_values_for_everything():
    assert {expression.partition("(")[0] for expression, _ in CHECK_VALUES} == set(MCBITS) == set(READER)


@pytest.mark.parametrize("implementation", [MCBITS, READER], ids=["mcbits", "reader"])
@pytest.mark.parametrize(("expression", "value"), CHECK_VALUES)
def test_check_values_hold(implementation, expression, value):
    assert str(eval(expression, implementation)) == value


@pytest.mark.parametrize("bits", [4, 9, 13, 30])
def test_distributions_of_pixels_agree_in_every_count(bits):
    for M, K, unit, r in ((1, 2, 0, 1), (1, 17, 3, 9), (3, 30, 0, 22), (8, 20, 16, 30)):
        for row in corpus.integers(-(1 << bits), (1 << bits) + 1, (8, 24), seed=bits).tolist():
            a, m, s = row[:M], row[8 : 8 + M], row[16 : 16 + M]
            assert READER["mixture"](a, m, s, row[23] % 40, unit, K, r) == MCBITS["mixture"](
                a, m, s, row[23] % 40, unit, K, r
            )
            assert READER["coin"](row[0], max(r, 2)) == MCBITS["coin"](row[0], max(r, 2))
            assert READER["choice"](row, max(r, 5)) == MCBITS["choice"](row, max(r, 5))


@pytest.mark.parametrize("name", ["exp", "log2", "ndtr", "ndtri"])
def test_elementary_functions_agree_in_every_bit(name):
    points = corpus._points()[name][::199].tolist()
    assert [READER[name](x) for x in points] == [MCBITS[name](x) for x in points]


def test_distributions_agree_in_every_count():
    for mean, log_scale in corpus.integers(-2500, 2500, (40, 2), seed=5).tolist():
        assert READER["gaussian"](8 * mean, log_scale, 6, 16) == MCBITS["gaussian"](8 * mean, log_scale, 6, 16)
        assert READER["bernoulli"](2 * mean, 16) == MCBITS["bernoulli"](2 * mean, 16)
        log_w = [50 * mean, 50 * log_scale, 0]
        assert READER["weights"](log_w, 24) == MCBITS["weights"](log_w, 24)


def test_the_dictionary_on_the_page_is_the_one_in_use():
    lines, _ = re.findall(r"```dictionary\n(.*?)```", PAGE, re.DOTALL)
    assert lines.replace("\n", "").encode() == container.DICTIONARY == reader.DICTIONARY
    assert f"{len(container.DICTIONARY)} bytes in ASCII" in PAGE


@pytest.mark.parametrize("at", range(0, 250, 10))
def test_the_independent_reader_notices_every_damaged_byte(at):
    blob = bytearray((corpus.FOLDER / "bool.mcb").read_bytes())
    blob[at % len(blob)] ^= 0x10
    with pytest.raises((reader.Damaged, reader.zlib.error)):
        reader.read(bytes(blob), corpus.model_bytes("dense"))


def test_every_test_that_a_promise_rests_on_exists():
    root = Path(__file__).resolve().parents[1]
    named = re.findall(r"`(tests/[\w/]+\.(?:py|sh))(?:::(\w+))?", (root / "SECURITY.md").read_text())
    assert len(named) > 10
    missing = [(path, test) for path, test in named if f"def {test}" * bool(test) not in (root / path).read_text()]
    assert not missing
