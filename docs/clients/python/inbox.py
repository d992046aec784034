"""What was delivered and not yet taken by the application."""

from collections import deque, namedtuple

import steadfast_pb2 as wire
from batches import unpack

Record = namedtuple("Record", "topic payload publisher sequence offset place")  # place: where to go on after it
Gap = namedtuple("Gap", "text place")  # in place of records that are missing


class Inbox:
    """Records in order, with the body bytes that they hold."""

    def __init__(self):
        self.ready, self.unread = deque(), 0
        self.taken = None  # place after the last record that was taken

    def add(self, entry, body, skip, group_id, lineage):
        """The records of an entry but the first `skip`. A batch that cannot be decoded is reported, not fatal."""
        header, payloads = entry.batch, unpack(entry.batch, body)
        if payloads is None:
            end = entry.offset + header.count
            return self.missing(f"records {entry.offset + skip} to {end} (exclusive) cannot be decoded")
        for index in range(skip, header.count):
            offset, sequence = entry.offset + index, header.first_sequence + index
            place = group_id, wire.Position(lineage=lineage, epoch=entry.epoch, offset=offset + 1)
            record = Record(header.topic, payloads[index], header.publisher, sequence, offset, place)
            self.ready.append((record, len(body) if index == header.count - 1 else 0))
        self.unread += len(body)

    def missing(self, text):
        self.ready.append((Gap(text, None), 0))

    def take(self):
        """The next record or gap; None when there is none."""
        if not self.ready:
            return None
        item, size = self.ready.popleft()
        self.unread -= size
        self.taken = item.place or self.taken
        return item
