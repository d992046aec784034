#!/usr/bin/env python3
"""Writes matching records in order, each once, through every change of primary. See docs/wire.md.

All trouble has one answer: find the primary, open the stream on a new link, at the own position.
"""

import argparse
import random
import re
import sys
import time
from contextlib import suppress
from pathlib import Path

import zmq
from crc32c import crc32c
from google.protobuf.message import DecodeError

import steadfast_pb2 as wire

QUIET, LOOKUP_LIMIT, PATIENCE = 0.150, 0.250, 2.0  # s without a frame, an answer, progress
PINGS, CREDIT = 3, 4 << 20  # pings without an answer until a broker is left; bytes on the way
WORD = r"(\*|[^\s.*>\x00-\x1f\x7f-\x9f]+)"  # of a filter


class Leave(Exception):
    """This link is of no use any more."""


class Subscriber:
    """Iterate: payloads, texts on what is missing, None at times. `position` is behind them."""

    def __init__(self, discovery, filters, start="latest"):
        self.replicas, self.filters, self.start = discovery.split(","), filters, start
        if not all(re.fullmatch(r"[^\s/]+:\d{1,5}", address) for address in self.replicas):
            sys.exit(f"{discovery!r} does not list addresses: write HOST:PORT,HOST:PORT")
        for text in filters:
            if not re.fullmatch(rf"({WORD}\.){{0,31}}(>|{WORD})", text) or len(text.encode()) > 255:
                sys.exit(f"{text!r} is not a filter: write orders.eu, orders.* or orders.>")
        self.socket = self.hint = self.group_id = self.position = None
        self.lineage, self.epoch, self.attempts, self.later, self.known = 0, 0, 0, 0.0, (0, 0)
        if start not in ("earliest", "latest"):
            with suppress(ValueError):
                _, group, *numbers, _ = start.split("-")
                self.group_id = wire.Uuid(high=int(group[:16], 16), low=int(group[16:], 16))
                self.lineage, epoch, offset = map(int, numbers)
                self.position = wire.Position(lineage=self.lineage, epoch=epoch, offset=offset)
            if not self.position or self.bookmark() != start:
                sys.exit(f"{start!r} is not a position: copy one whole, as a subscriber wrote it")

    def bookmark(self):
        group, at = self.group_id, self.position
        text = f"0-{group.high:016x}{group.low:016x}-{at.lineage}-{at.epoch}-{at.offset}"
        return f"{text}-{crc32c(text.encode()):08x}"

    def __iter__(self):
        while True:
            yield None
            try:
                if not self.socket:
                    self.open_stream()
                again = self.got >= CREDIT and time.monotonic() > self.again  # One may be lost.
                if again or self.got >= self.granted - CREDIT * 3 // 4:
                    self.granted, self.again = self.got + CREDIT, time.monotonic() + PATIENCE / 2
                    self.send(credit=wire.Credit(stream=1, limit=self.granted))
                if self.socket.poll(QUIET * 1000):
                    self.pings = 0
                    yield from self.take(*self.receive())
                elif self.pings == PINGS or time.monotonic() > self.since + PATIENCE:
                    raise Leave
                else:
                    self.pings += 1
                    self.send(ping=wire.Ping())
            except (Leave, zmq.ZMQError, DecodeError):
                self.socket = self.socket and self.socket.close()
                backoff = random.uniform(0, min(0.500, 0.010 * 2 ** min(self.attempts, 6)))
                time.sleep(min(self.later, 0.500) + (0 if self.hint else backoff))
                self.attempts, self.later = self.attempts + 1, 0.0

    def open_stream(self):
        self.connect(self.hint or self.find_primary())
        self.got, self.granted, self.expected, self.again = 0, CREDIT, None, 0.0
        start = {"position": self.position} if self.position else {self.start: {}}
        self.send(open_stream=wire.OpenStream(
            stream=1, group_id=self.group_id, lineage=self.lineage, filters=self.filters,
            credit=CREDIT, **start))

    def find_primary(self):
        self.connect("tcp://" + random.choice(self.replicas))
        self.send(lookup=wire.Lookup(fresh=self.attempts % 2 == 1))
        kind, route, _ = self.receive() if self.socket.poll(LOOKUP_LIMIT * 1000) else (None,) * 3
        self.socket = self.socket.close()
        if kind != "route" or not route.HasField("group_id"):
            raise Leave
        other = self.group_id not in (None, route.group_id)
        if other and route.fresh:
            sys.exit("this is another cluster, or it lost all data: start without a position")
        if other or (route.lineage, route.epoch) < self.known:
            raise Leave  # Older than the latest route or hint: a route never goes back.
        self.known, self.later = (route.lineage, route.epoch), route.retry_after_ms / 1000
        self.group_id, self.lineage = route.group_id, self.lineage or route.lineage
        return route.primary.address  # While there is none, it is empty: that cannot be dialled.

    def connect(self, address):
        self.pings, self.since, self.hint = 0, time.monotonic(), None
        self.socket = zmq.Context.instance().socket(zmq.DEALER)
        self.socket.linger, self.socket.reconnect_ivl, self.socket.ipv6 = 0, -1, True
        self.socket.connect(address)

    def send(self, **message):
        self.socket.send(wire.Envelope(version=1, **message).SerializeToString(), zmq.NOBLOCK)

    def receive(self):
        head, *bodies = self.socket.recv_multipart()
        envelope = wire.Envelope.FromString(head)
        kind = envelope.WhichOneof("message") if envelope.version == 1 else None
        return kind, kind and getattr(envelope, kind), bodies

    def take(self, kind, message, bodies):
        if kind == "refusal" and (reason := message.WhichOneof("reason")):
            yield from self.refused(reason, getattr(message, reason))
        elif kind in ("stream_opened", "deliver"):
            if message.lineage != self.lineage or message.epoch < self.epoch:
                raise Leave  # A primary that was deposed and does not know it yet.
            self.epoch, self.since = message.epoch, time.monotonic()
            yield from (self.opened if kind == "stream_opened" else self.deliver)(message, bodies)

    def opened(self, message, _bodies):
        start, at = message.start, self.position or message.start
        self.expected, self.attempts = start.offset, 0
        self.position = start if start.offset > at.offset else at
        if start.offset > at.offset:  # On an open stream, too, if retention overtakes it.
            yield f"records {at.offset} to {start.offset} (exclusive) are no longer kept"

    def deliver(self, message, bodies):
        if getattr(message, "from") != self.expected or len(bodies) != len(message.entries):
            raise Leave  # A frame is missing.
        for entry, body in zip(message.entries, bodies):
            header, payloads = entry.batch, []
            self.got += len(body)
            if (crc32c(body), 0, len(body)) == (header.checksum, header.codec, header.raw_length):
                with suppress(DecodeError):
                    payloads = wire.Records.FromString(body).payload
            first, end = max(self.position.offset, entry.offset), entry.offset + header.count
            if len(payloads) != header.count and first < end:
                yield f"records {first} to {end} (exclusive) cannot be decoded"
                continue
            for at in range(first + 1, end + 1):  # Not what lies below the position.
                self.position = wire.Position(lineage=self.lineage, epoch=entry.epoch, offset=at)
                yield payloads[at - entry.offset - 1]
        self.expected, self.position = message.upto.offset, message.upto

    def refused(self, reason, about):
        self.later, at = getattr(about, "retry_after_ms", 0) / 1000, self.position
        if reason == "not_primary" and (self.known[0], about.epoch) > self.known:
            self.known, self.hint = (self.known[0], about.epoch), about.primary.address
        elif reason == "lineage_changed" and about.group_id == self.group_id:
            if about.lineage > self.lineage:
                self.lineage, self.known = about.lineage, max(self.known, (about.lineage, 0))
                self.epoch, self.position = 0, at and wire.Position(lineage=self.lineage)
                yield at and "the cluster lost data, perhaps also what was delivered"
        elif reason == "diverged" and at:
            common, epoch = (about.common, at.epoch) if about.common < at.offset else (0, 0)
            self.position = wire.Position(lineage=self.lineage, epoch=epoch, offset=common)
            yield f"records from {common} on were replaced by others"
        raise Leave


def main():
    parser = argparse.ArgumentParser(description="Write matching payloads, a line each.")
    parser.add_argument("filters", nargs="+", metavar="FILTER")
    parser.add_argument("--discovery", required=True, metavar="HOST:PORT,...")
    parser.add_argument("--from", dest="start", default="latest", metavar="WHERE")
    parser.add_argument("--position", type=Path, metavar="FILE")
    parser.add_argument("--count", type=int)
    args, count, status = parser.parse_args(), 0, 0
    if args.position and args.position.exists():
        args.start = args.position.read_text().strip()
    subscriber = Subscriber(args.discovery, args.filters, args.start)
    for item in subscriber:
        if isinstance(item, str):
            status = 1
            print(f"missing: {item}", file=sys.stderr)
        elif item is not None:
            count += 1
            sys.stdout.buffer.write(item + b"\n")
        if item is None or count == args.count:
            sys.stdout.buffer.flush()
            if args.position and subscriber.position:  # It covers only what is written.
                new = args.position.with_name(args.position.name + ".new")
                new.write_text(subscriber.bookmark())
                new.replace(args.position)
        if count == args.count:
            return status


if __name__ == "__main__":
    with suppress(KeyboardInterrupt, BrokenPipeError):
        sys.exit(main())
