"""Damage as disks and copies do it."""


def flip_bit(path, place, bit=3):
    """Changes one bit of a file's byte."""
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)
