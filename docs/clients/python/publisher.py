#!/usr/bin/env python3
"""A publisher: every record exactly once and in order, through every change of primary.

    publisher.py orders.eu --discovery 127.0.0.1:7401,127.0.0.1:7402 < orders.txt
"""

import argparse
import os
import sys
import time
from collections import deque

import steadfast_pb2 as wire
from batches import FULL, MAX_RECORD, Batch, Window, new_id
from cluster import Client
from link import put_off
from texts import is_topic

WINDOW_FRAMES, FRAME_BATCHES = 8, 256
QUEUE_BYTES = 8 << 20  # beyond it `publish` waits
ANSWER_LIMIT = 2.0  # s without progress, then everything in flight is sent again


class Stopped(Exception):
    """The publisher cannot go on; the text says why."""


class Publisher(Client):
    """`publish` and `flush`; call `poll` often while you have nothing to say. For one thread."""

    def __init__(self, discovery, timeout=30.0):
        super().__init__(discovery)
        self.id, self.nonce, self.incarnation, self.history = new_id(), new_id(), 0, None
        self.state, self.retry_at, self.resume_from = "detached", 0.0, 0
        self.queue, self.queued_bytes = deque(), 0  # batches without numbers; the last one takes more records
        self.window, self.frame = Window(), 0
        self.sent_at, self.answered_gap = 0.0, None
        self.published = self.acknowledged = self.unknown = 0  # records
        self.timeout, self.moved_at = timeout, time.monotonic()

    def publish(self, topic, payload):
        """Takes a record (bytes). Waits while too much is queued."""
        if len(payload) > MAX_RECORD:
            raise ValueError(f"a payload has {len(payload)} bytes, a record holds at most {MAX_RECORD}: split it")
        while self.queued_bytes > QUEUE_BYTES:
            self.poll(0.1)
        if not (self.queue and self.queue[-1].takes(topic, payload)):
            self.poll()
            self.queue.append(Batch(topic))
        self.queued_bytes += self.queue[-1].add(payload)
        self.published += 1

    def flush(self):
        """Waits until every record has its outcome: acknowledged or unknown."""
        while self.acknowledged + self.unknown < self.published:
            self.poll(0.1)

    def send_what_waits(self):
        """With nothing in flight everything, else full batches, as far as the window goes."""
        idle = not self.window.sent
        while self.state == "open" and self.window.frames() < WINDOW_FRAMES and len(self.queue) > (0 if idle else 1):
            frame, size = [], 0
            while self.queue and size < FULL and len(frame) < FRAME_BATCHES:
                batch = self.queue.popleft()
                batch.seal(self.id, self.incarnation, self.window.next, self.frame)
                self.window.push(batch)
                frame.append(batch)
                size += batch.size
            self.queued_bytes -= size
            self.frame += 1
            self.sent_at = time.monotonic() if idle else self.sent_at
            self.transmit(frame)

    def transmit(self, batches):
        publish = wire.Publish(group_id=self.history[0], lineage=self.history[1], batches=[b.header for b in batches])
        self.primary.send([batch.body for batch in batches], publish=publish)

    def resend(self, first):
        self.sent_at = time.monotonic()
        for frame in self.window.frames_from(first):
            self.transmit(frame)

    def acknowledge(self, last):
        count = self.window.acknowledge(last)
        if count:
            self.acknowledged += count
            self.sent_at, self.moved_at, self.answered_gap = time.monotonic(), time.monotonic(), None

    # What happens on the link to the primary.

    def attached(self):
        if self.incarnation == 0:
            self.history = self.route.group_id, self.route.lineage
        self.open_session()

    def open_session(self):
        self.primary.send(open_session=wire.OpenSession(
            group_id=self.history[0], lineage=self.history[1], publisher=self.id, nonce=self.nonce,
            incarnation=self.incarnation))
        self.state, self.retry_at = "opening", time.monotonic() + ANSWER_LIMIT

    def detached(self):
        self.state, self.answered_gap = "detached", None

    def tick(self, now):
        if self.acknowledged + self.unknown == self.published:
            self.moved_at = now
        elif now >= self.moved_at + self.timeout:
            raise Stopped(f"no acknowledgement for {self.timeout:g} s; check that the cluster has a primary")
        if self.state == "opening" and now >= self.retry_at:
            self.open_session()
        elif self.state == "paused" and now >= self.retry_at:
            self.state, self.answered_gap = "open", None
            self.resend(self.resume_from)
        elif self.state == "open" and self.window.sent and now >= self.sent_at + ANSWER_LIMIT:
            self.answered_gap = None
            self.resend(self.window.first())
        self.send_what_waits()

    def received(self, kind, message, _bodies):
        if kind in ("session_opened", "publish_ack"):
            own = (message.group_id, message.lineage, message.publisher) == (*self.history, self.id)
            if own and kind == "session_opened" and self.incarnation in (0, message.incarnation):
                self.opened(message)
            elif own and message.incarnation == self.incarnation:
                self.acknowledge(message.last_sequence)

    def opened(self, message):
        self.incarnation = message.incarnation
        if not self.window.first() - 1 <= message.last_sequence < self.window.next:
            return self.give_up()  # It lacks what was acknowledged, or has what was never sent.
        self.acknowledge(message.last_sequence)
        if self.state == "opening":
            self.state, self.attempts = "open", 0
            self.resend(self.window.first())

    def refused(self, reason, about, _stream):
        if reason == "lineage_changed":
            if self.incarnation:
                print("the cluster gave its data up: acknowledged records may be lost", file=sys.stderr)
            self.begin_anew(about.group_id, about.lineage)
        elif reason == "electing" or reason == "busy" and self.state == "opening":
            self.state, self.retry_at = "opening", put_off(about.retry_after_ms)
        elif getattr(about, "publisher", None) != self.id:
            pass  # Not about this publisher.
        elif reason == "busy" and self.state == "open":
            self.state, self.retry_at, self.resume_from = "paused", put_off(about.retry_after_ms), about.expect
        elif reason == "gap" and self.state == "open" and self.answered_gap != about.expect <= self.window.next:
            # No acknowledgement: the broker may hold what lies below without having committed it.
            if about.expect < self.window.first():
                return self.give_up()
            self.answered_gap = about.expect
            self.resend(about.expect)
        elif reason == "unknown_session" and self.incarnation:
            self.begin_anew(*self.history)
        elif reason == "fenced" and about.incarnation > self.incarnation:
            raise Stopped(f"another process uses this publisher's identity (its session {about.incarnation})")

    def begin_anew(self, group_id, lineage):
        """A new session. What was sent and not acknowledged is unknown now, and never sent again unasked."""
        self.unknown += sum(batch.header.count for batch in self.window.sent)
        self.window, self.nonce, self.incarnation, self.history = Window(), new_id(), 0, (group_id, lineage)
        self.open_session()


def lines(file, publisher):
    """Lines of a file descriptor without their newlines. The publisher works while they are waited for."""
    rest, block = b"", True
    while block:
        if file in publisher.poll(0.1, file):
            block = os.read(file, 64 << 10)
            *complete, rest = (rest + block).split(b"\n")
            yield from complete
    if rest:
        yield rest


def main():
    parser = argparse.ArgumentParser(description="Publish each line of standard input as a record.")
    parser.add_argument("topic")
    parser.add_argument("--discovery", required=True, metavar="HOST:PORT,...")
    parser.add_argument("--timeout", type=float, default=30, metavar="SECONDS", help="of no acknowledgement")
    args = parser.parse_args()
    if not is_topic(args.topic):
        parser.error(f"{args.topic!r} is not a topic: write words with dots between, for example orders.eu")
    publisher = Publisher(args.discovery, args.timeout)
    try:
        for line in lines(0, publisher):
            publisher.publish(args.topic, line)
        publisher.flush()
    except (Stopped, ValueError, KeyboardInterrupt) as error:
        print(f"publisher.py: {str(error) or 'interrupted'}", file=sys.stderr)
    print(f"acknowledged {publisher.acknowledged} of {publisher.published} records")
    publisher.close()
    return 0 if publisher.acknowledged == publisher.published else 1


if __name__ == "__main__":
    sys.exit(main())
