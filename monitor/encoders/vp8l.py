"""The head of a lossless WebP bitstream, read to learn what decoding it would take.

A decoder holds up to 20 kB of tables for each group of prefix codes, and three hundred kilobytes
can name 65,536 groups. How many there are stands behind the transforms, in an image of its own.
"""

CELLS_MAX = 2**16  # of the small images before the pixels
GROUPS_MAX = 2_600  # of prefix codes; encoders of libwebp never make more

_LITERALS, _LENGTHS, _DISTANCES, _CHANNEL = 256, 24, 40, 256
_CACHE_BITS_MAX = 11
_LENGTHS_ORDER = (17, 18, 0, 1, 2, 3, 4, 5, 16, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
_REPEATS = {16: (2, 3), 17: (3, 3), 18: (7, 11)}  # bits and least count
_PREDICTOR, _CROSS_COLOUR, _SUBTRACT_GREEN, _PALETTE = range(4)

# Entries ``symbol << 4 | bits`` by the next bits, and the mask for those.
_Code = tuple[list[int], int]


class TooComplexError(ValueError):
    """More cells or groups than are decoded."""


class _Bits:
    def __init__(self, data: bytes, at: int) -> None:
        self.data = data
        self.at = at

    def read(self, count: int) -> int:
        """So many bits, least significant first; behind the end there are zeros."""
        first = self.at >> 3
        word = int.from_bytes(self.data[first : first + 5], "little") >> (self.at & 7)
        self.at += count
        return word & (1 << count) - 1

    def symbol(self, code: _Code) -> int:
        table, mask = code
        first = self.at >> 3
        word = int.from_bytes(self.data[first : first + 3], "little") >> (self.at & 7)
        entry = table[word & mask]
        self.at += entry & 15
        return entry >> 4


def check_lossless(data: bytes, at: int, width: int, height: int) -> None:
    """Read transforms and the image of groups, which begin at bit ``at``.

    Raises:
        TooComplexError: if decoding would take too much.
        ValueError: if the bitstream is broken.
    """
    bits = _Bits(data, at)
    seen: set[int] = set()
    while bits.read(1):
        transform = bits.read(2)
        if transform in seen:
            raise ValueError("a transform twice")
        seen.add(transform)
        if transform in {_PREDICTOR, _CROSS_COLOUR}:
            _small_image(bits, width, height, 2 + bits.read(3))
        elif transform == _PALETTE:
            colours = bits.read(8) + 1
            _small_image(bits, colours, 1, 0)
            # Pixels of few colours share a byte.
            width = _cells(width, sum(colours <= most for most in (2, 4, 16)))
    if bits.read(1):
        bits.read(4)
    if bits.read(1) and _small_image(bits, width, height, 2 + bits.read(3)) >= GROUPS_MAX:
        raise TooComplexError(f"more than {GROUPS_MAX} groups of prefix codes")


def _small_image(bits: _Bits, width: int, height: int, block: int) -> int:
    """Read an image of one pixel for each block; the largest value in its red and green."""
    left = _cells(width, block) * _cells(height, block)
    if left > CELLS_MAX:
        raise TooComplexError(f"more than {CELLS_MAX} cells")
    cache_bits = bits.read(4) if bits.read(1) else None
    if cache_bits == 0 or (cache_bits or 0) > _CACHE_BITS_MAX:
        raise ValueError("a colour cache of no possible size")
    cached = 0 if cache_bits is None else 1 << cache_bits
    green = _read_code(bits, _LITERALS + _LENGTHS + cached)
    red, blue, alpha = (_read_code(bits, _CHANNEL) for _ in range(3))
    distance = _read_code(bits, _DISTANCES)
    largest = 0
    while left > 0:
        symbol = bits.symbol(green)
        if symbol < _LITERALS:
            largest = max(largest, bits.symbol(red) << 8 | symbol)
            bits.symbol(blue)
            bits.symbol(alpha)
            left -= 1
        elif symbol < _LITERALS + _LENGTHS:  # copies of earlier pixels, never larger ones
            left -= _read_amount(bits, symbol - _LITERALS)
            _read_amount(bits, bits.symbol(distance))
        else:
            left -= 1
    return largest


def _cells(side: int, block: int) -> int:
    return -(-side >> block)


def _read_amount(bits: _Bits, symbol: int) -> int:
    if symbol < 4:  # noqa: PLR2004 - the first four stand for themselves
        return symbol + 1
    extra = (symbol - 2) >> 1
    return ((2 + (symbol & 1)) << extra) + bits.read(extra) + 1


def _read_code(bits: _Bits, alphabet: int) -> _Code:
    if bits.read(1):
        lengths = [0] * max(alphabet, _CHANNEL)
        has_second = bits.read(1)
        lengths[bits.read(8 if bits.read(1) else 1)] = 1
        if has_second:
            lengths[bits.read(8)] = 1
        return _code(lengths[:alphabet])
    of_lengths = [0] * len(_LENGTHS_ORDER)
    for symbol in _LENGTHS_ORDER[: 4 + bits.read(4)]:
        of_lengths[symbol] = bits.read(3)
    return _code(_read_lengths(bits, _code(of_lengths), alphabet))


def _read_lengths(bits: _Bits, code: _Code, alphabet: int) -> list[int]:
    left = 2 + bits.read(2 + 2 * bits.read(3)) if bits.read(1) else alphabet
    lengths: list[int] = []
    previous = 8
    while len(lengths) < alphabet and left:
        left -= 1
        symbol = bits.symbol(code)
        if symbol in _REPEATS:
            extra, least = _REPEATS[symbol]
            repeated = previous if symbol == min(_REPEATS) else 0
            lengths += [repeated] * (least + bits.read(extra))
        else:
            lengths.append(symbol)
            previous = symbol or previous
    if len(lengths) > alphabet:
        raise ValueError("more lengths than symbols")
    return lengths


def _code(lengths: list[int]) -> _Code:
    """The canonical prefix code of these lengths; one symbol alone takes no bits."""
    used = sorted((length, symbol) for symbol, length in enumerate(lengths) if length)
    if len(used) == 1:
        return [used[0][1] << 4], 0
    longest = used[-1][0] if used else 0
    if sum(1 << longest - length for length, _ in used) != 1 << longest:
        raise ValueError("no complete prefix code")
    table = [0] * (1 << longest)
    code, before = 0, 0
    for length, symbol in used:
        code <<= length - before
        before = length
        backwards = int(f"{code:0{length}b}"[::-1], 2)
        table[backwards :: 1 << length] = [symbol << 4 | length] * (1 << longest - length)
        code += 1
    return table, (1 << longest) - 1
