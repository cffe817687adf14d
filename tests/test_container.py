"""A .mcb file is read back exactly as written, or refused in one line: no flipped bit, cut or splice goes unnoticed."""

from io import BytesIO

import numpy as np
import pytest

from mcbits._rans import Stack
from mcbits.archive.format import End, Header, pack_block, pack_stack, read_blocks, read_header, unpack_stack
from mcbits.errors import FormatError

PRECISIONS = dict(lprec=32, bprec=32, log_num_bucket=8, prior_mprec=8, prop_mprec=16, cond_mprec=16, index_mprec=24)


def header(**changes):
    fields = dict(
        coder="bb-is",
        options={"num_particles": 5},
        precisions=PRECISIONS,
        shape=(2, 3),
        dtype="uint8",
        lanes=2,
        block_size=2048,
        ramp=0,
        model_id=bytes(range(32)),
    )
    return Header(**(fields | changes))


def stack(lanes=2, lprec=32, bprec=32):
    s = Stack(lanes, lprec, bprec, seed=1)
    s.push(np.tile(np.arange(40) % 2, (lanes, 1)), np.ones((lanes, 40)), 1)
    return s


def file(blocks=2, **changes):
    pieces = [pack_block(i, pack_stack(3 + i, [], stack())) for i in range(blocks)]
    return header(**changes).pack() + b"".join(pieces) + End(7, bytes(32)).pack()


def read(data):
    source = BytesIO(data)
    return read_header(source), list(read_blocks(source))


@pytest.mark.parametrize("model", [b"", b"a model"])
def test_header_blocks_and_end_are_read_back(model):
    from hashlib import sha256

    changes = {"model": model, "model_id": sha256(model).digest()}
    found, pieces = read(file(**changes))
    assert found == header(**changes) and vars(found)["model"] == model
    assert pieces[-1] == End(7, bytes(32))
    assert [unpack_stack(piece, found)[0] for piece in pieces[:-1]] == [3, 4]


@pytest.mark.parametrize("lprec, bprec", [(32, 32), (16, 16), (31, 7), (40, 24), (1, 63), (63, 1)])
@pytest.mark.parametrize("lanes", [1, 3])
def test_a_stack_is_read_back(lanes, lprec, bprec):
    s = stack(lanes, lprec, bprec)
    h = header(lanes=lanes, precisions=PRECISIONS | {"lprec": lprec, "bprec": bprec})
    n, _, again = unpack_stack(pack_stack(500, [], s), h)
    assert n == 500 and np.array_equal(again.heads, s.heads)
    assert all(np.array_equal(again.tail(k), s.tail(k)) for k in range(lanes))


def test_a_header_with_checksums_costs_less_than_200_bytes():
    assert len(header().pack()) + len(End(7, bytes(32)).pack()) < 200


def test_every_flipped_bit_is_detected():
    data = file()
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(FormatError):
            read(bytes(damaged))


def test_every_truncation_extension_and_swap_is_detected():
    data = file()
    for size in range(len(data)):
        with pytest.raises(FormatError):
            read(data[:size])
    with pytest.raises(FormatError, match="beyond the end"):
        read(data + b"\0")
    a, b = pack_block(0, pack_stack(3, [], stack())), pack_block(1, pack_stack(4, [], stack()))
    with pytest.raises(FormatError, match="block 0"):
        read(header().pack() + b + a + End(7, bytes(32)).pack())


@pytest.mark.parametrize(
    "changes",
    [
        {"shape": ()},
        {"shape": (1 << 20, 1 << 20)},
        {"shape": (0,)},
        {"dtype": "object"},
        {"lanes": 0},
        {"lanes": True},
        {"block_size": 10**12},
        {"precisions": PRECISIONS | {"lprec": 60}},
        {"precisions": {}},
        {"options": [1]},
        {"coder": 5},
        {"ramp": -1},
    ],
)
def test_a_header_that_no_writer_writes_is_refused(changes):
    with pytest.raises(FormatError, match="header"):
        read(file(**changes))


@pytest.mark.parametrize("payload", [b"", b"\x01", b"\xff" * 20, bytes(40), pack_stack(3, [], stack())[:-1]])
def test_a_payload_that_is_no_stack_is_refused(payload):
    with pytest.raises(FormatError):
        unpack_stack(payload, header())


def test_a_length_that_lies_costs_no_memory():
    import tracemalloc

    data = file(blocks=0)[:-48] + (1 << 29).to_bytes(4, "little") + b"short"
    tracemalloc.start()
    with pytest.raises(FormatError, match="truncated"):
        read(data)
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()
