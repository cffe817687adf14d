from typing import Self

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

from mcbits._rans import Stack

_I32 = NDArray[np.int32]
_I64 = NDArray[np.int64]
_U32 = NDArray[np.uint32]
_U64 = NDArray[np.uint64]

def bernoulli_table(precision: int) -> tuple[_U32, _I32]: ...
def bernoulli_freqs(logits: _I32, freq: _U32) -> _U64: ...

@disjoint_base
class BernoulliSymbols:
    def __new__(cls, freq: _U32, precision: int) -> Self: ...

def bernoulli_push(stack: Stack, logits: _I32, symbols: _I32, both: BernoulliSymbols) -> None: ...
def bernoulli_pop(stack: Stack, logits: _I32, freq: _U32, precision: int) -> _I32: ...
def bernoulli_total(logits: _I32, symbols: _I32, length: _I32) -> _I64: ...
