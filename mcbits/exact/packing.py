"""A packed model gives back every integer of its networks, and costs a reader memory in proportion to its own bytes."""

import json
import zlib
from collections.abc import Iterator
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from mcbits.errors import McbitsError, ModelError
from mcbits.exact.fixed import FixedPoint, narrowest
from mcbits.exact.layers import AnyLayer
from mcbits.exact.network import FrozenNetwork
from mcbits.exact.products import Product
from mcbits.exact.stream import Reader, Writer, read_matrix, written_matrix

MAGIC = b"\x93mcm\x03"
"""What a packed model begins with: read as the length of a header, it is beyond what safetensors allows."""

DICTIONARY = (
    b'"stride":[1,1],"weight":[1,3,3,32,32]},{"bits":13,"op":"scale"},{"inputs":[8,7],"op":"add"},{"op":"reshape",'
    b'"shape":[1,28,28]},{"op":"slice","start":0,"stop":1},{"frac":22,"op":"affine"{"dilation":[1,1],"frac":13,'
    b'"op":"conv2d","padding":[1,1],{"frac":13,"op":"conv_transpose2d","output_padding":[0,0],"identity_above":true,'
    b'"identity_above":false,"index_frac":10,"low":-4096,"op":"lookup","table":0},"tables":{"0":8192}},"shifts":1,'
    b'{"meta":{"observation":"bernoulli","shape":[28,28]},"networks":{"decoder":{"inputs":[{"bound":1024,"frac":8,'
    b'"encoder":{"inputs":[{"bound":1,"frac":0,"shape":[784]}],"layers":[{"frac":13,"op":"linear","weight":[784,200]},'
    b'"outputs":[{"frac":12,"kind":"linear","value":5},{"meta":{"class":"pixel VAE","inputs":[[-1],[1],[0]],'
    b'"observation":"categorical","observation_options":{"symbols":2},"radius":2,"shape":[0,0,3]},"networks":{"head3":'
    b'{"meta":{"class":"pixels","observation":"logistic","observation_options":{"M":5,"symbols":256,"unit":0},'
    b'"radius":3,"shape":[0,0]},"networks":{"head0":{"inputs":[{"bound":1023,"frac":0,"shape":[30]}],"layers":['
    b'{"frac":17,"op":"linear","weight":[30,32]},{"frac":8,"high":32512,"low":0,"op":"round"},{"frac":12,"op":"linear",'
    b'"weight":[32,32]},{"frac":8,"high":32512,"low":0,"op":"round"},{"frac":12,"op":"linear","weight":[32,15]}],'
    b'"outputs":[{"frac":8,"kind":"linear","value":5}]},"head1":{"inputs":[{"bound":1023,"frac":0,"shape":[31]}],'
    b'"layers":[{"frac":17,"op":"linear","weight":[31,32]}'
)
"""The most frequent text of models, so that theirs packs to a few dozen bytes. It is part of the format."""

MAX_TEXT = 1 << 16
FREE_ELEMENTS, ELEMENTS_PER_BYTE = 1 << 20, 64
"""A packed model holds at most so many elements, and so many more for each of its bytes."""

MAX_ORDER = 2
"""How often differences of a table may be taken."""

_LAYERS: TypeAdapter[tuple[AnyLayer, ...]] = TypeAdapter(tuple[AnyLayer, ...])
_INPUTS: TypeAdapter[tuple[FixedPoint, ...]] = TypeAdapter(tuple[FixedPoint, ...])

_I64 = NDArray[np.int64]


def is_packed(data: bytes) -> bool:
    """Return whether the bytes are those of a packed model, damaged or not."""
    return data[: len(MAGIC)] == MAGIC


def pack(networks: dict[str, FrozenNetwork], meta: dict[str, Any]) -> bytes:
    """Return the bytes of a packed model, which `unpack` reads.

    Raises ModelError for what a packed model cannot hold: too long a description, or too many equal numbers.
    """
    described, tensors = {}, []
    for name, network in sorted(networks.items()):
        described[name] = _described(network)
        tensors += list(_tensors(network))
    text = json.dumps({"meta": meta, "networks": described}, sort_keys=True, separators=(",", ":"), allow_nan=False)
    if len(text) > MAX_TEXT:
        raise ModelError(f"expected a description of at most {MAX_TEXT} bytes, got {len(text)}: keep it in safetensors")
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zdict=DICTIONARY)
    packed = squeeze.compress(text.encode()) + squeeze.flush()
    writer = Writer()
    tables: list[_I64] = []
    for array, kind in tensors:
        _write_tensor(writer, array.astype(np.int64), kind, tables)
    data = MAGIC + _leb128(len(packed)) + packed + writer.data()
    unpack(data)  # what a reader refuses is not written
    return data


def unpack(data: bytes) -> tuple[dict[str, NDArray[Any]], dict[str, Any], dict[str, Any]]:
    """Return tensors, specifications of the networks and meta, as a file in safetensors has them.

    Bounds of layers and shapes of outputs are those that follow from the integers. Raises ModelError if the bytes are
    damaged.
    """
    try:
        return _unpack(data)
    except ModelError:
        raise
    except (
        McbitsError,
        LookupError,
        TypeError,
        ValueError,
        AttributeError,
        OverflowError,
        RecursionError,
        MemoryError,
        zlib.error,
    ):
        raise ModelError("it is damaged") from None


def _unpack(data: bytes) -> tuple[dict[str, NDArray[Any]], dict[str, Any], dict[str, Any]]:
    start, length, shift = len(MAGIC), 0, 0
    while True:
        length |= (data[start] & 0x7F) << shift
        start, shift = start + 1, shift + 7
        if not data[start - 1] & 0x80:
            break
        if shift > 28:
            raise ValueError("length")
    inflate = zlib.decompressobj(-15, zdict=DICTIONARY)
    text = inflate.decompress(data[start : start + length], MAX_TEXT)
    if not inflate.eof or inflate.unused_data:
        raise ValueError("text")
    head = json.loads(text)
    if head.keys() != {"meta", "networks"}:
        raise ValueError("keys")
    earlier: list[_I64] = []
    reader = Reader(data[start + length :], FREE_ELEMENTS + ELEMENTS_PER_BYTE * len(data))
    tensors: dict[str, NDArray[Any]] = {}
    specs = {}
    for name, described in sorted(head["networks"].items()):
        spec, sizes = _plain(described)
        own: dict[str, NDArray[Any]] = {}
        for key, shape, kind in sizes:
            reader.take(prod(shape))
            values = _read_tensor(reader, shape, kind, earlier)
            if kind == "shifts":
                spec["layers"][int(key)]["shifts"] = values.tolist()
            else:
                own[key] = narrowest(values)
        specs[name] = _completed(spec, own)
        tensors |= {f"{name}.{key}": x for key, x in own.items()}
    reader.end()
    return tensors, specs, dict(head["meta"])


# What describes a network


def _described(network: FrozenNetwork) -> dict[str, Any]:
    _, spec = network.to_tensors()
    for index, layer in enumerate(spec["layers"]):
        del layer["bound"]
        if layer["inputs"] == [len(spec["inputs"]) + index - 1]:
            del layer["inputs"]
        if "shifts" in layer:
            layer["shifts"] = 1
        if isinstance(network.layers[index], Product):
            layer["weight"] = list(network.tensors[f"{index}.weight"].shape)
    for output in spec["outputs"]:
        del output["shape"]
    if tables := _tables(network):
        spec["tables"] = {str(number): len(table) for number, table in tables}
    return spec


def _tables(network: FrozenNetwork) -> list[tuple[int, NDArray[Any]]]:
    names = [name for name in network.tensors if name.startswith("table.")]
    return sorted((int(name.removeprefix("table.")), network.tensors[name]) for name in names)


def _tensors(network: FrozenNetwork) -> Iterator[tuple[NDArray[Any], str]]:
    """Yield the integers of a network and what they are, in the order of the stream."""
    for index, layer in enumerate(network.layers):
        if isinstance(layer, Product):
            yield network.tensors[f"{index}.weight"], "weight"
            yield network.tensors[f"{index}.bias"], "bias"
            if layer.shifts:
                yield np.array(layer.shifts), "shifts"
    for _, table in _tables(network):
        yield table, "table"


def _plain(described: dict[str, Any]) -> tuple[dict[str, Any], list[tuple[str, tuple[int, ...], str]]]:
    """Return the specification without what follows from integers, and name, shape and kind of each tensor."""
    spec = dict(described)
    tables, first = spec.pop("tables", {}), len(spec["inputs"]) - 1
    sizes = []
    layers = []
    for index, layer in enumerate(spec["layers"]):
        layer = {"inputs": [first + index], "bound": 0, **layer}
        shape, shifts = layer.pop("weight", None), layer.pop("shifts", None)
        if shape is not None:
            weight = _shape(shape)
            channels = weight[-1] * (weight[0] if len(weight) == 5 else 1)
            sizes += [(f"{index}.weight", weight, "weight"), (f"{index}.bias", (channels,), "bias")]
            if shifts is not None:
                sizes.append((str(index), (channels,), "shifts"))
        layers.append(layer)
    numbers = sorted(int(number) for number in tables)
    sizes += [(f"table.{number}", _shape([tables[str(number)]]), "table") for number in numbers]
    return {**spec, "layers": layers}, sizes


def _shape(shape: list[Any]) -> tuple[int, ...]:
    if not 1 <= len(shape) <= 5 or any(type(size) is not int or size < 1 for size in shape):
        raise ValueError("shape")
    return tuple(shape)


def _completed(spec: dict[str, Any], tensors: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """Return the specification with the bounds of its layers and the shapes of its outputs."""
    try:
        values = list(_INPUTS.validate_json(json.dumps(spec["inputs"]), strict=True))
        layers = _LAYERS.validate_json(json.dumps(spec["layers"]), strict=True)
    except ValidationError as error:
        raise ModelError(f"its specification is damaged: {error.errors()[0]['msg']}") from None
    for index, layer in enumerate(layers):
        if max(layer.inputs) >= len(values):
            raise ModelError(f"layer {index} ({layer.op}) of the frozen network reads a later one")
        own = {local: tensors[name] for local, name in layer.tensor_names(index).items()}
        values.append(layer.result([values[i] for i in layer.inputs], own))
        spec["layers"][index]["bound"] = values[-1].bound
    outputs = [{**output, "shape": list(values[output["value"]].shape)} for output in spec["outputs"]]
    return {**spec, "outputs": outputs}


# Tensors: a matrix of integers, rows and columns each with steps and scales of their own


def _matrix(x: _I64) -> _I64:
    """Return the integers as a matrix whose columns are the output channels of a product."""
    if x.ndim == 5:
        x = np.moveaxis(x, 0, -2)
        return x.reshape(-1, x.shape[-2] * x.shape[-1])
    return x.reshape(len(x), -1)


def _from_matrix(x: _I64, shape: tuple[int, ...]) -> _I64:
    if len(shape) == 5:
        return np.moveaxis(x.reshape(*shape[1:4], shape[0], shape[4]), -2, 0)
    return x.reshape(shape)


def _write_tensor(writer: Writer, x: _I64, kind: str, tables: list[_I64]) -> None:
    """Write a tensor. Tables are appended to `tables`, of which one that comes again is only named."""
    if kind == "shifts":
        writer.vector(x)
    elif kind != "table":
        writer.extend(written_matrix(_matrix(x)))
    elif same := [k for k, table in enumerate(tables, 1) if np.array_equal(table, x)]:
        writer.number(same[0])
    else:
        tables.append(x)
        writer.number(0)
        differences = [np.diff(x, n, prepend=[0] * n) for n in range(MAX_ORDER + 1)]
        written = [written_matrix(each.reshape(-1, 1)) for each in differences]
        order = min(range(MAX_ORDER + 1), key=lambda n: written[n].cost)
        writer.number(order)
        writer.extend(written[order])


def _read_tensor(reader: Reader, shape: tuple[int, ...], kind: str, tables: list[_I64]) -> _I64:
    if kind == "shifts":
        return reader.vector(shape[0])
    if kind != "table":
        return _from_matrix(read_matrix(reader, *_matrix_shape(shape)), shape)
    if same := reader.number():
        x = tables[same - 1]
    else:
        order = reader.number()
        x = read_matrix(reader, shape[0], 1).reshape(-1)
        if order > MAX_ORDER or int(np.abs(x).max()) * len(x) ** order >= 1 << 62:
            raise ValueError("order")
        for _ in range(order):
            x = np.cumsum(x)
        tables.append(x)
    if x.shape != shape:
        raise ValueError("table")
    return x


def _matrix_shape(shape: tuple[int, ...]) -> tuple[int, int]:
    if len(shape) == 5:
        return prod(shape[1:4]), shape[0] * shape[4]
    return shape[0], prod(shape[1:])


def _leb128(value: int) -> bytes:
    parts = []
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*parts, value])
