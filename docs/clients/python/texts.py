"""Topics, filters and positions as text."""

import os

from crc32c import crc32c

import steadfast_pb2 as wire

MAX_LEN, MAX_WORDS = 255, 32  # bytes, words


def is_topic(text):
    return is_filter(text) and not any(word in ("*", ">") for word in text.split("."))


def is_filter(text):
    """`*` stands for one word, a `>` at the end for one or more."""
    words = text.split(".")
    if not all(words) or len(words) > MAX_WORDS or len(text.encode()) > MAX_LEN:
        return False
    if any(c.isspace() or ord(c) < 32 or 127 <= ord(c) < 160 for c in text):
        return False
    return ">" not in words[:-1] and not any(len(word) > 1 and ("*" in word or ">" in word) for word in words)


def write_position(position):
    """As `steadfast subscribe` prints and takes it: the last word is a checksum of the others."""
    group_id, place = position
    text = f"0-{group_id.high:016x}{group_id.low:016x}-{place.lineage}-{place.epoch}-{place.offset}"
    return f"{text}-{crc32c(text.encode()):08x}"


def read_position(text):
    """Raises ValueError when the text is not one whole position."""
    words = text.split("-")
    try:
        group_id = wire.Uuid(high=int(words[1][:16], 16), low=int(words[1][16:], 16))
        position = group_id, wire.Position(lineage=int(words[2]), epoch=int(words[3]), offset=int(words[4]))
        if write_position(position) == text:
            return position
    except (IndexError, ValueError):
        pass
    raise ValueError(f"{text!r} is not a position: copy one whole, as a subscriber has printed it")


def keep_position(path, text):
    """In one step: after a crash the file holds the old position or the new one."""
    if path and text:
        with open(path + ".new", "w") as file:
            file.write(text + "\n")
        os.replace(path + ".new", path)
