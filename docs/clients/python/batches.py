"""Batches: records of one topic, encoded once, and the window of those in flight."""

import secrets
from collections import deque

from crc32c import crc32c
from google.protobuf.message import DecodeError

import steadfast_pb2 as wire

MAX_RECORD, MAX_RECORDS = 1 << 20, 65_536
FULL = 64 << 10  # bytes; one larger record is a batch of its own


class Batch:
    """Takes records until it is sealed. After that it never changes: every transmission is the same bytes."""

    def __init__(self, topic):
        self.topic, self.payloads, self.size = topic, [], 0

    def takes(self, topic, payload):
        return topic == self.topic and self.size + weight(payload) <= FULL and len(self.payloads) < MAX_RECORDS

    def add(self, payload):
        self.payloads.append(payload)
        self.size += weight(payload)
        return weight(payload)

    def seal(self, publisher, incarnation, first, frame):
        self.body, self.frame = wire.Records(payload=self.payloads).SerializeToString(), frame
        self.first, self.last = first, first + len(self.payloads) - 1
        self.header = wire.BatchHeader(
            topic=self.topic, publisher=publisher, incarnation=incarnation, first_sequence=first,
            count=len(self.payloads), raw_length=len(self.body), checksum=crc32c(self.body))


class Window:
    """Sealed batches in flight, in the order of their numbers, without holes."""

    def __init__(self, next_number=1):
        self.sent, self.next = deque(), next_number

    def first(self):
        """Number of the first record that is not acknowledged."""
        return self.sent[0].first if self.sent else self.next

    def frames(self):
        return self.sent[-1].frame - self.sent[0].frame + 1 if self.sent else 0

    def push(self, batch):
        self.sent.append(batch)
        self.next = batch.last + 1

    def acknowledge(self, last):
        """Returns how many records are committed now. Whole batches: one that `last` cuts stays."""
        count = 0
        while self.sent and self.sent[0].last <= last < self.next:
            count += self.sent.popleft().header.count
        return count

    def frames_from(self, first):
        """What is in flight from number `first` on, as it was sent."""
        batches = [batch for batch in self.sent if batch.last >= first]
        for frame in sorted({batch.frame for batch in batches}):
            yield [batch for batch in batches if batch.frame == frame]


def new_id():
    return wire.Uuid(high=secrets.randbits(64), low=secrets.randbits(64))


def weight(payload):
    """At least what the payload takes in a body: a tag and a length of up to three bytes come before it."""
    return len(payload) + 4


def unpack(header, body):
    """The payloads of a batch; None when it is damaged, over a limit or compressed in a way not known here."""
    if crc32c(body) != header.checksum or header.codec != wire.CODEC_NONE or len(body) != header.raw_length:
        return None
    try:
        payloads = wire.Records.FromString(body).payload
    except DecodeError:
        return None
    return payloads if len(payloads) == header.count else None
