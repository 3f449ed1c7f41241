"""Test vectors of the Merkle tree, from an implementation that shares nothing with the one in Rust.

    pip install blake3 && python3 log/tests/merkle_vectors.py > log/tests/golden/merkle_vectors.txt

Written from docs/FORMATS.md and RFC 9162, section 2.1, in the most direct way: trees are computed anew from their leaves,
paths by the recursive definitions of the RFC. Only the record counts are ours.
"""

import pathlib
import struct

from blake3 import blake3

LEAF = "pyralog 2026 merkle leaf"
NODE = "pyralog 2026 merkle node"
SIZES = list(range(21)) + [31, 32, 33, 63, 64, 65, 127, 128, 129, 255, 256, 257, 1023, 1024, 1025]
GOLDEN = pathlib.Path(__file__).parent / "golden"


def encode(node):
    return node[0] + struct.pack("<Q", node[1])


def leaf(batch, records):
    return blake3(encode((batch, records)), derive_key_context=LEAF).digest(), records


def split(size):
    k = 1
    while k * 2 < size:
        k *= 2
    return k


def root(leaves):
    if not leaves:
        return blake3(b"", derive_key_context=NODE).digest(), 0
    if len(leaves) == 1:
        return leaves[0]
    k = split(len(leaves))
    left, right = root(leaves[:k]), root(leaves[k:])
    joined = blake3(encode(left) + encode(right), derive_key_context=NODE).digest()
    return joined, left[1] + right[1]


def inclusion(leaves, offset):
    """Steps from the root down: hash of the sibling, records below the left child. And the place of the leaf."""
    if len(leaves) == 1:
        return [], 0, 0
    k = split(len(leaves))
    left, right = root(leaves[:k]), root(leaves[k:])
    if offset < left[1]:
        steps, index, first = inclusion(leaves[:k], offset)
        return [(right[0], left[1])] + steps, index, first
    steps, index, first = inclusion(leaves[k:], offset - left[1])
    return [(left[0], left[1])] + steps, index + k, first + left[1]


def consistency(m, leaves, whole=True):
    """SUBPROOF of RFC 9162, 2.1.4.1."""
    if m == len(leaves):
        return [] if whole else [root(leaves)]
    k = split(len(leaves))
    if m <= k:
        return consistency(m, leaves[:k], whole) + [root(leaves[k:])]
    return consistency(m - k, leaves[k:], False) + [root(leaves[:k])]


def proof(nodes):
    return (bytes([len(nodes)]) + b"".join(encode(node) for node in nodes)).hex()


def batch_hash(name):
    batch = bytes.fromhex((GOLDEN / name).read_text())
    body_len = struct.unpack_from("<I", batch, 72)[0]
    return blake3(batch[: 128 + body_len]).hexdigest()


def main():
    for name in ["batch_sealed.hex", "batch_zstd.hex"]:
        print("batch", name, batch_hash(name))
    leaves = []
    for i in range(max(SIZES)):
        batch, records = blake3(f"batch {i}".encode()).digest(), 1 + i * 7 % 5
        leaves.append(leaf(batch, records))
        if i < 21:
            print("leaf", i, batch.hex(), records, leaves[i][0].hex())
    for size in SIZES:
        top = root(leaves[:size])
        print("root", size, top[1], top[0].hex())
        for offset in sorted({0, top[1] // 3, top[1] // 2, top[1] - 1} & set(range(top[1]))):
            steps, index, first = inclusion(leaves[:size], offset)
            print("inclusion", size, offset, index, first, first + leaves[index][1], proof(steps))
        for m in SIZES:
            if 0 < m <= size and (size <= 20 or m in (1, 7, 20, 64, 65, 255, 1023)):
                print("consistency", m, size, proof(consistency(m, leaves[:size])))


main()
