#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The golden vectors of proto/vectors, by an implementation of its own.

    vectors.py check DIR    every vector says what it should
    vectors.py make DIR     write them anew

It shares nothing with the C code but proto/dirtyferry.md.
"""
import ctypes
import json
import os
import random
import sys
import uuid

try:
    import msgpack
except ImportError:
    print("vectors.py: python3-msgpack is not here: skipped")
    sys.exit(77)

RAW, ZEROES, ONES, POSITIONS, RUNS = range(5)
NAMES = ["raw", "zeroes", "ones", "positions", "runs"]
MAX_CONTROL, MAX_DEPTH, MAX_VALUES = 1 << 20, 5, 65536


class Refused(Exception):
    pass


# ------------------------------------------------------------------ notation

def unhex(text):
    """`96 01 c403 55*1000`: hex bytes; XX*N repeats one byte."""
    out = bytearray()
    for token in text.split():
        byte, _, n = token.partition("*")
        out += bytes.fromhex(byte) * int(n or 1)
    return bytes(out)


def rehex(data):
    """Long stretches of one byte as XX*N."""
    out, i, plain = [], 0, 0
    while i < len(data):
        n = 1
        while i + n < len(data) and data[i + n] == data[i]:
            n += 1
        if n >= 16:
            out.append(data[plain:i].hex())
            out.append("%02x*%d" % (data[i], n))
            plain = i + n
        i += n
    out.append(data[plain:].hex())
    return " ".join(x for x in out if x)


def runs_of(text):
    """`0+1 5+3 8+1/2*100`: FIRST+LENGTH, or that again N times every STRIDE bits."""
    for token in text.split():
        first, rest = token.split("+")
        length, _, many = rest.partition("/")
        stride, _, n = many.partition("*")
        for k in range(int(n or 1)):
            yield int(first) + k * int(stride or 0), int(length)


def read(path):
    """Records of `key: value` lines, blank lines between them, # for comments."""
    record = {}
    for line in open(path, encoding="utf-8"):
        line = line.rstrip("\n")
        if line.startswith("#"):
            continue
        if line:
            key, _, value = line.partition(":")
            record[key] = value.strip()
        elif record:
            yield record
            record = {}
    if record:
        yield record


# -------------------------------------------------------------------- frames

def varint(v):
    out = bytearray()
    while v >= 0x80:
        out.append(v & 0x7f | 0x80)
        v >>= 7
    out.append(v)
    return bytes(out)


def take_varint(data, at):
    value = 0
    for i in range(6):
        if at + i >= len(data):
            raise Refused("varint truncated")
        byte = data[at + i]
        value |= (byte & 0x7f) << 7 * i
        if byte < 0x80:
            if byte == 0 and i:
                raise Refused("varint not shortest")
            return value, at + i + 1
    raise Refused("varint too long")


def payload_of(encoding, runs, n):
    out, at = bytearray(), 0
    if encoding == RAW:
        bits = sum(((1 << length) - 1) << first for first, length in runs) if len(runs) < 5000 else None
        if bits is not None:
            return bits.to_bytes((n + 7) // 8, "little")
        out = bytearray((n + 7) // 8)
        for first, length in runs:
            for bit in range(first, first + length):
                out[bit // 8] |= 1 << bit % 8
    elif encoding == POSITIONS:
        for first, length in runs:
            for bit in range(first, first + length):
                out += varint(bit - at)
                at = bit + 1
    elif encoding == RUNS:
        for first, length in runs:
            out += varint(first - at) + varint(length)
            at = first + length
    return bytes(out)


def decode_payload(encoding, payload, count, n):
    """The runs, merged where they touch."""
    runs, at = [], 0

    def add(first, length):
        if first + length > n:
            raise Refused("behind the end")
        if runs and sum(runs[-1]) == first:
            runs[-1] = (runs[-1][0], runs[-1][1] + length)
        else:
            runs.append((first, length))

    if encoding == RAW:
        if count != 1 or len(payload) != (n + 7) // 8:
            raise Refused("raw length")
        for i, byte in enumerate(payload):
            for bit in range(8) if byte else ():
                if byte >> bit & 1:
                    add(8 * i + bit, 1)
        return runs
    if encoding in (ZEROES, ONES):
        if payload:
            raise Refused("payload should be empty")
        return [(0, n)] if encoding == ONES else []
    if not payload:
        raise Refused("payload is empty")
    position, start = 0, True
    while at < len(payload):
        clear, at = take_varint(payload, at)
        length = 1
        if encoding == RUNS:
            length, at = take_varint(payload, at)
            if not length or (not clear and not start):
                raise Refused("run")
        add(position + clear, length)
        position, start = position + clear + length, False
    return runs


def frame_bits(nbits, chunk, first, count):
    chunks = (nbits - 1) // (8 * chunk) + 1
    if not 1 <= count <= 65535 or first + count > chunks:
        raise Refused("chunks out of range")
    return min((first + count) * 8 * chunk, nbits) - first * 8 * chunk


def scan(data, depth=0, at=0):
    """Depth, counts and types; returns where the value ends and how many values it was."""
    def be(n):
        if at + 1 + n > len(data):
            raise Refused("truncated")
        return int.from_bytes(data[at + 1:at + 1 + n], "big")
    if at >= len(data):
        raise Refused("truncated")
    b = data[at]
    if b <= 0x7f or b >= 0xe0 or b in (0xc0, 0xc2, 0xc3):
        return at + 1, 1
    sizes = {0xcc: 1, 0xd0: 1, 0xcd: 2, 0xd1: 2, 0xca: 4, 0xce: 4, 0xd2: 4, 0xcb: 8, 0xcf: 8, 0xd3: 8}
    heads = {0xc4: 1, 0xd9: 1, 0xc5: 2, 0xda: 2, 0xc6: 4, 0xdb: 4, 0xdc: 2, 0xdd: 4, 0xde: 2, 0xdf: 4}
    if b in sizes:
        be(sizes[b])
        return at + 1 + sizes[b], 1
    if b in heads:
        n, at = be(heads[b]), at + 1 + heads[b]
    elif b <= 0xbf:
        n, at = b & (0x1f if b >= 0xa0 else 0x0f), at + 1
    else:
        raise Refused("type")
    if b in (0xc4, 0xc5, 0xc6, 0xd9, 0xda, 0xdb) or 0xa0 <= b <= 0xbf:
        if n > len(data) - at:
            raise Refused("count")
        return at + n, 1
    if b in (0xde, 0xdf) or b <= 0x8f:
        n *= 2
    if n > len(data) - at or depth == MAX_DEPTH:
        raise Refused("count or depth")
    values = 1
    for _ in range(n):
        at, more = scan(data, depth + 1, at)
        values += more
        if values > MAX_VALUES:
            raise Refused("too many values")
    return at, values


def unpack(data, pairs=None):
    end, _ = scan(data)
    if end != len(data):
        raise Refused("trailing bytes")
    return msgpack.unpackb(data, raw=False, strict_map_key=False, object_pairs_hook=pairs, unicode_errors="surrogateescape")


def is_number(x, most):
    return isinstance(x, int) and not isinstance(x, bool) and 0 <= x <= most


def frame_fields(message):
    """A list of six by hand: unsigned integers of any width, and a bin that ends the message."""
    if message[:1] != b"\x96":
        raise Refused("not a list of six")
    at, fields = 1, []
    for widths in 5 * ({0xcc: 1, 0xcd: 2, 0xce: 4, 0xcf: 8},) + ({0xc4: 1, 0xc5: 2, 0xc6: 4},):
        if at == len(message):
            raise Refused("truncated")
        n = widths.get(message[at], 0)
        if not n and (message[at] > 0x7f or len(fields) == 5) or at + n >= len(message):
            raise Refused("a wrong type, or truncated")
        fields.append(int.from_bytes(message[at + 1:at + 1 + n], "big") if n else message[at])
        at += 1 + n
    if at + fields[5] != len(message):
        raise Refused("payload does not end the message")
    fields[5] = message[at:]
    return fields


def decode_frame(message, nbits, chunk):
    fields = frame_fields(message)
    if not all(is_number(x, most) for x, most in zip(fields, (65535, 255, 2**32 - 1, 65535, 4))):
        raise Refused("field out of range")
    if len(fields[5]) > chunk:
        raise Refused("payload larger than a chunk")
    n = frame_bits(nbits, chunk, fields[2], fields[3])
    return fields, decode_payload(fields[4], fields[5], fields[3], n)


def pack_frame(handle, epoch, first, count, encoding, payload):
    return msgpack.packb([handle, epoch, first, count, encoding, payload], use_bin_type=True)


def choose(runs, n, count, chunk):
    """As section 8 says: the smallest, the first of equals of positions, runs, raw."""
    nset = sum(length for _, length in runs)
    if nset in (0, n):
        return ONES if nset else ZEROES
    best = None
    for encoding in (POSITIONS, RUNS) + ((RAW,) if count == 1 else ()):
        if encoding == POSITIONS and nset > chunk:
            continue
        size = len(payload_of(encoding, runs, n))
        if size <= chunk and (best is None or size < best[0]):
            best = size, encoding
    return best[1] if best else None


def merge(runs):
    out = []
    for first, length in runs:
        if out and sum(out[-1]) == first:
            out[-1] = (out[-1][0], out[-1][1] + length)
        else:
            out.append((first, length))
    return out


# ------------------------------------------------------------------ messages

def unique(pairs):
    keys = [k for k, _ in pairs]
    if len(keys) > 32 or len(set(map(repr, keys))) != len(keys) or not all(isinstance(k, str) for k in keys):
        raise Refused("keys")
    return dict(pairs)


def decode_message(data):
    if len(data) > MAX_CONTROL:
        raise Refused("too long")
    fields = unpack(data, unique)
    if not isinstance(fields, dict):
        raise Refused("not a map")
    if not is_number(fields.get("v"), 1) or fields["v"] != 1 or not isinstance(fields.get("type"), str) or not is_number(fields.get("id"), 2**64 - 1):
        raise Refused("head")
    return fields


def to_json(value):
    if isinstance(value, bytes):
        return {"bin": value.hex()}
    if isinstance(value, dict):
        return {k: to_json(v) for k, v in value.items()}
    return [to_json(v) for v in value] if isinstance(value, list) else value


# --------------------------------------------------------------------- dumps

def xxh3(data, seed):
    """By the C library: Python has none of its own, and bootstrap installs that one anyway."""
    if not hasattr(xxh3, "call"):
        xxh3.call = ctypes.CDLL("libxxhash.so.0").XXH3_64bits_withSeed
        xxh3.call.argtypes = ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint64
        xxh3.call.restype = ctypes.c_uint64
    return xxh3.call(data, len(data), seed)


def digests(runs, nbits):
    """Section 9."""
    nblocks = (nbits - 1) // 32768 + 1
    s = 1
    while -(-nblocks // s) > 1024:
        s *= 2
    blocks, sums = {}, [0] * -(-nblocks // s)
    for first, length in runs:
        for bit in range(first, first + length):
            blocks.setdefault(bit // 32768, bytearray(4096))[bit % 32768 // 8] |= 1 << bit % 8
    for number, content in blocks.items():
        sums[number // s] = (sums[number // s] + xxh3(bytes(content), number)) % 2**64
    return b"".join(x.to_bytes(8, "little") for x in sums)


def dump_blocks(data):
    """Kind and payload of each block; the payload of the first tells the id of the others."""
    at, index, ident, kind = 0, 0, 0, 0
    while at < len(data):
        head = data[at:at + 32]
        if len(head) < 32 or head[:8] != b"DFBLOCK\1" or kind == 3:
            raise Refused("head")
        kind, n = (int.from_bytes(head[i:i + 4], "little") for i in (8, 12))
        payload = data[at + 32:at + 32 + n]
        if kind not in (1, 2, 3) or (kind == 1) != (index == 0) or not 1 <= n <= 655360 or len(payload) < n:
            raise Refused("kind or length")
        if xxh3(head[:24] + payload, ident) != int.from_bytes(head[24:], "little") or int.from_bytes(head[16:24], "little") != index:
            raise Refused("sum or index")
        if index == 0:
            header = unpack(payload, unique)
            if not isinstance(header, dict) or not is_number(header.get("id"), 2**64 - 1):
                raise Refused("header")
            ident = header["id"]
        yield kind, payload
        at, index = at + 32 + n, index + 1
    if kind != 3:
        raise Refused("no end")


def check_header(h):
    def text(x, most):
        return isinstance(x, str) and 1 <= len(x.encode("utf-8", "surrogateescape")) <= most and not any(ord(c) < 32 or ord(c) == 127 for c in x)

    def power(x, least, most):
        return is_number(x, most) and x >= least and not x & (x - 1)
    try:
        names = [(b["disk"], b["bitmap"]) for b in h["bitmaps"]]
        good = h["v"] == 1 and is_number(h["id"], 2**64 - 1) and h["id"] and h["content"] in ("session", "bitmap") and \
            is_number(h["epoch"], 2**32 - 1 if h["content"] == "session" else 1) and h["epoch"] and uuid.UUID(h["session"]) and len(h["session"]) == 36 and \
            power(h["chunk_size"], 32, 65536) and 1 <= len(names) <= 64 and len(set(names)) == len(names)
        for b in h["bitmaps"]:
            good = good and text(b["disk"], 255) and text(b["bitmap"], 1023) and is_number(b["size"], 2**60) and b["size"] and power(b["granularity"], 512, 2**31) \
                and nbits_of(b) <= 2**41 and -(-nbits_of(b) // (8 * h["chunk_size"])) < 2**32 and isinstance(b["enabled"], bool) and isinstance(b["persistent"], bool)
    except (KeyError, TypeError, ValueError):
        good = False
    if not good:
        raise Refused("header")


def nbits_of(bitmap):
    return -(-bitmap["size"] // bitmap["granularity"])


def decode_dump(data):
    """Header, set bits of each bitmap, digests of each bitmap."""
    header, runs, handle, chunk, number = None, [], 1, 0, 0
    for kind, payload in dump_blocks(data):
        if kind == 1:
            header = unpack(payload, unique)
            check_header(header)
            bitmaps, size = header["bitmaps"], header["chunk_size"]
            runs = [[] for _ in bitmaps]
        at = 0
        while kind == 2 and at < len(payload):
            n = int.from_bytes(payload[at:at + 4], "little")
            if at + 4 + n > len(payload) or handle > len(bitmaps):
                raise Refused("length of a frame, or one behind the end")
            nbits = nbits_of(bitmaps[handle - 1])
            fields, some = decode_frame(payload[at + 4:at + 4 + n], nbits, size)
            if fields[:3] != [handle, header["epoch"] % 256, chunk]:
                raise Refused("handle, epoch or first chunk")
            runs[handle - 1] += [(8 * size * chunk + first, length) for first, length in some]
            at, chunk = at + 4 + n, chunk + fields[3]
            if chunk * 8 * size >= nbits:
                handle, chunk = handle + 1, 0
        if kind == 3:
            end = unpack(payload, unique)
            if end.get("blocks") != number or handle != len(bitmaps) + 1:
                raise Refused("number of blocks, or not all chunks")
            said = [b["digests"] for b in end["bitmaps"]]
            if [len(x) for x in said] != [8 * min(-(-nbits_of(b) // 32768), 1024) for b in bitmaps]:
                raise Refused("digests")
        number += 1
    return header, [merge(r) for r in runs], said


# --------------------------------------------------------------------- check

def check_frames(path):
    number, seen = 0, set()
    for r in read(path):
        nbits, chunk = int(r["nbits"]), int(r["chunk_size"])
        message = unhex(r["message"])
        fields, runs = decode_frame(message, nbits, chunk)
        said = [int(r[k]) for k in ("handle", "epoch", "first", "count")] + [NAMES.index(r["encoding"])]
        assert fields[:5] == said, (r["name"], fields[:5], said)
        assert runs == merge(runs_of(r["runs"])), (r["name"], runs[:5])
        assert pack_frame(*fields) == message, r["name"]
        assert len(message) - len(fields[5]) <= 20, r["name"]
        n = frame_bits(nbits, chunk, fields[2], fields[3])
        chosen = choose(runs, n, fields[3], chunk)
        assert (r["chosen"] == "yes") == (chosen == fields[4]), (r["name"], chosen)
        number += 1
        seen.add(fields[4])
    assert number >= 60 and len(seen) == 5, number
    return number


def check_control(path):
    number = 0
    for r in read(path):
        assert to_json(decode_message(unhex(r["message"]))) == json.loads(r["fields"]), r["name"]
        number += 1
    return number


def check_hostile(path):
    """A control message may be refused for its fields only, which is not decided here: `schema: yes`."""
    number = 0
    for r in read(path):
        try:
            if r["kind"] == "frame":
                decode_frame(unhex(r["message"]), int(r["nbits"]), int(r["chunk_size"]))
            else:
                decode_message(unhex(r["message"]))
            assert r.get("schema") == "yes", "%s is accepted" % r["name"]
        except (Refused, ValueError):
            assert "schema" not in r, r["name"]
        number += 1
    return number


def check_dumps(path):
    try:
        xxh3(b"", 0)
    except OSError as e:
        print("dumps: not checked: %s" % e)
        return 0
    number, good = 0, 0
    for r in read(path):
        data = unhex(r["file"])
        try:
            header, runs, said = decode_dump(data)
            assert "reason" not in r, "%s is accepted" % r["name"]
            assert header == json.loads(r["header"]), r["name"]
            for i, b in enumerate(header["bitmaps"]):
                assert runs[i] == merge(runs_of(r["runs%d" % (i + 1)])), (r["name"], i, runs[i])
                assert said[i] == digests(runs[i], nbits_of(b)), (r["name"], i)
            good += 1
        except Refused:
            assert "reason" in r, r["name"]
        number += 1
    assert good >= 3 and number >= 30, (good, number)
    return number


def main():
    command, directory = sys.argv[1:] if len(sys.argv) == 3 else ("check", os.path.join(os.environ.get("abs_top_srcdir", "."), "proto/vectors"))
    if command == "make":
        import vectors_make
        vectors_make.make(directory)
    for name, check in (("frames", check_frames), ("control", check_control), ("hostile", check_hostile), ("dumps", check_dumps)):
        print("%s: %d vectors are right" % (name, check(os.path.join(directory, name + ".txt"))))


if __name__ == "__main__":
    random.seed(1)
    main()
