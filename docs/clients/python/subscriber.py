#!/usr/bin/env python3
"""A subscriber: every matching record in order and once, through every change of primary, or word of what is missing.

    subscriber.py 'orders.>' --discovery 127.0.0.1:7401,127.0.0.1:7402 --position orders.position
"""

import argparse
import os
import sys
import time

import steadfast_pb2 as wire
from cluster import Client
from inbox import Gap, Inbox
from link import delay, put_off
from texts import is_filter, keep_position, read_position, write_position

CREDIT = 4 << 20  # body bytes that may wait for the application
STREAM_LIMIT = 2.0  # s without a frame of the stream, then it is opened again
SLACK = 8 << 20  # a broker that oversteps its credit by more is left


class Subscriber(Client):
    """Iterate over it: a `Record`, or a `Gap` that says what is missing. For one thread."""

    def __init__(self, discovery, filters, start="latest"):
        """Where to start: "earliest", "latest", or a position as text."""
        super().__init__(discovery)
        for text in filters:
            if not is_filter(text):
                raise ValueError(f"{text!r} is not a filter: write for example orders.eu, orders.* or orders.>")
        self.filters, self.start = list(filters), start
        # How far it has come: everything that matches below is in the inbox, or was.
        self.group_id, self.position = read_position(start) if start not in ("earliest", "latest") else (None, None)
        self.inbox = Inbox()
        self.stream = self.epoch = self.got = self.granted = self.expected = 0
        self.history = None  # in which the stream was asked for
        self.state, self.due, self.reopenings = "detached", 0.0, 0

    def __iter__(self):
        while True:
            if (item := self.next(0.1)) is not None:
                yield item

    def next(self, timeout):
        """The next `Record` or `Gap`; None if there is none in time."""
        self.grant()
        if not self.inbox.ready:
            self.poll(timeout)
        return self.inbox.take()

    def bookmark(self):
        """Where to go on after everything that was taken, as text. None before the first stream is open."""
        place = self.inbox.taken if self.inbox.ready else self.position and (self.group_id, self.position)
        return place and write_position(place)

    # What is said on the link to the primary.

    def detached(self):
        self.state = "detached"

    def open_stream(self):
        history = (self.group_id, self.position.lineage) if self.position else (self.route.group_id, self.route.lineage)
        if history != self.history:
            self.history, self.epoch = history, 0
        self.stream += 1
        self.got, self.granted = 0, max(CREDIT - self.inbox.unread, 0)
        start = {"position": self.position} if self.position else {self.start: getattr(wire, self.start.title())()}
        self.primary.send(open_stream=wire.OpenStream(
            stream=self.stream, group_id=history[0], lineage=history[1], filters=self.filters,
            credit=self.granted, **start))
        self.state, self.due = "opening", time.monotonic() + STREAM_LIMIT

    attached = open_stream

    def close_stream(self):
        if self.state in ("opening", "open"):
            self.primary.send(close_stream=wire.CloseStream(stream=self.stream))

    def reopen_later(self):
        self.close_stream()
        self.state, self.due = "waiting", time.monotonic() + delay(self.reopenings)
        self.reopenings += 1

    def tick(self, now):
        if self.state != "detached" and now >= self.due:
            self.close_stream()
            self.open_stream()

    def grant(self):
        """Credit is absolute: a repeated or lost grant does no harm. A quarter of the window at a time."""
        limit = max(self.got + CREDIT - self.inbox.unread, 0)
        if self.state == "open" and limit >= self.granted + CREDIT // 4:
            self.granted = limit
            self.primary.send(credit=wire.Credit(stream=self.stream, limit=limit))

    # What is heard.

    def received(self, kind, message, bodies):
        if kind == "stream_opened" and message.stream == self.stream and (
                self.state == "opening" or self.state == "open" and message.start.offset > self.expected):
            self.opened(message)  # One that is open already was overtaken by retention.
        elif kind == "deliver" and message.stream == self.stream and self.state == "open":
            self.delivered(message, bodies)

    def opened(self, message):
        if (message.group_id, message.lineage) != self.history or message.epoch < self.epoch:
            return self.give_up()  # A primary of an earlier reign that does not know it yet.
        self.epoch, self.attempts, self.state = message.epoch, 0, "open"
        self.due, self.expected = time.monotonic() + STREAM_LIMIT, message.start.offset
        if self.position and message.start.offset > self.position.offset:
            self.inbox.missing(f"records {self.position.offset} to {message.start.offset} (exclusive) were not kept")
        if not self.position or message.start.offset > self.position.offset:
            self.group_id, self.position = message.group_id, message.start
        self.grant()

    def delivered(self, message, bodies):
        fits = (message.group_id, message.lineage) == self.history and message.epoch >= self.epoch
        if not fits or getattr(message, "from") != self.expected or len(bodies) != len(message.entries):
            return self.reopen_later()
        self.epoch, self.reopenings = message.epoch, 0
        for entry, body in zip(message.entries, bodies):
            self.take(entry, body)
        if message.upto.offset >= self.position.offset:
            self.position = message.upto
        self.expected, self.due = message.upto.offset, time.monotonic() + STREAM_LIMIT
        if self.got > self.granted + SLACK:
            return self.give_up()
        self.grant()

    def take(self, entry, body):
        """A position inside a batch gets the whole batch: what was handled before is left out."""
        self.got += len(body)
        end = entry.offset + entry.batch.count
        if end > self.position.offset:
            skip = max(self.position.offset - entry.offset, 0)
            self.inbox.add(entry, body, skip, *self.history)
            self.position = wire.Position(lineage=self.history[1], epoch=entry.epoch, offset=end)

    def refused(self, reason, about, stream):
        if stream not in (0, self.stream):
            return  # Of a stream that was closed.
        if reason in ("electing", "busy"):
            self.state, self.due = "waiting", put_off(about.retry_after_ms)
        elif reason == "lineage_changed":
            if self.position:
                lineages = f"lineage {self.history[1]} became {about.lineage}"
                self.inbox.missing(f"the cluster gave its data up ({lineages}): what was delivered may exist no more")
                self.group_id, self.position = about.group_id, wire.Position(lineage=about.lineage)
            self.open_stream()
        elif reason == "diverged" and self.position and self.position.offset:
            # The record before `common` is taken to be of the own epoch; if not, the start is next.
            common = about.common if about.common < self.position.offset else 0
            self.inbox.missing(f"the log changed under the subscriber: records from {common} on were replaced")
            epoch = self.position.epoch if common else 0
            self.position = wire.Position(lineage=self.history[1], epoch=epoch, offset=common)
            self.reopen_later()


def main():
    parser = argparse.ArgumentParser(description="Write the payloads of matching records, a line each.")
    parser.add_argument("filters", nargs="+", metavar="FILTER")
    parser.add_argument("--discovery", required=True, metavar="HOST:PORT,...")
    parser.add_argument("--from", dest="start", default="latest", metavar="earliest|latest|POSITION")
    parser.add_argument("--position", metavar="FILE", help="go on where this file says, and keep it up to date")
    parser.add_argument("--count", type=int, help="end after so many records")
    args = parser.parse_args()
    if args.position and os.path.exists(args.position):
        args.start = open(args.position).read().strip()
    try:
        return write_all(Subscriber(args.discovery, args.filters, args.start), args)
    except ValueError as error:
        parser.error(str(error))


def write_all(subscriber, args):
    """Exit status: 1 when something was missing."""
    out, count, gaps = sys.stdout.buffer, 0, 0
    while args.count is None or count < args.count:
        item = subscriber.next(0.1)
        if isinstance(item, Gap):
            gaps += 1
            print(f"missing: {item.text}", file=sys.stderr)
        elif item:
            count += 1
            out.write(item.payload + b"\n")
        if item is None or count % 1_000 == 0 or count == args.count:
            # First the records, then the position that covers them: a crash in between repeats and loses nothing.
            out.flush()
            keep_position(args.position, subscriber.bookmark())
    subscriber.close()
    return 1 if gaps else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (KeyboardInterrupt, BrokenPipeError):
        os._exit(0)  # Asked to leave, or nobody reads any more.
