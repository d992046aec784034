#!/usr/bin/env python3
"""Publishes lines, each once and in order, through every change of primary. See docs/wire.md.

All trouble has one answer: find the primary, open the session on a new link, send again what is not
acknowledged. That neither loses nor doubles a record. The README shows how to call it.
"""

import argparse
import random
import re
import sys
import time
from contextlib import suppress

import zmq
from crc32c import crc32c
from google.protobuf.message import DecodeError

import steadfast_pb2 as wire

QUIET, LOOKUP_LIMIT, PATIENCE = 0.150, 0.250, 2.0  # s without a frame, an answer, progress
PINGS, WINDOW = 3, 8  # pings without an answer until a broker is left; batches in flight
BLOCK, MAX_RECORD = 64 << 10, 1 << 20  # bytes
WORD = r"[^\s.*>\x00-\x1f\x7f-\x9f]+"  # of a topic


class Leave(Exception):
    """This link is of no use any more."""


class Publisher:
    def __init__(self, discovery, topic, timeout=30.0):
        self.replicas, self.topic, self.timeout = discovery.split(","), topic, timeout
        if not all(re.fullmatch(r"[^\s/]+:\d{1,5}", address) for address in self.replicas):
            sys.exit(f"{discovery!r} does not list addresses: write HOST:PORT,HOST:PORT")
        if not re.fullmatch(rf"{WORD}(\.{WORD}){{0,31}}", topic) or len(topic.encode()) > 255:
            sys.exit(f"{topic!r} is not a topic: write words with dots between, as orders.eu")
        self.socket = self.hint = self.group_id = None
        self.lineage, self.known = 0, (0, 0)  # known: lineage and epoch of the latest route or hint
        self.is_open, self.attempts, self.later = False, 0, 0.0
        self.acknowledged, self.trouble, self.moved_at = 0, False, time.monotonic()
        self.begin_session()

    def begin_session(self, reason=None):
        """With a new identity, too: what is meant for an earlier one cannot be mistaken."""
        if reason and self.incarnation:  # What is in flight may be stored: it is not sent again.
            print(f"{reason}; of unknown fate: {self.next - self.last - 1}", file=sys.stderr)
            self.trouble = True
        self.id = wire.Uuid(high=random.getrandbits(64), low=random.getrandbits(64))
        self.nonce = wire.Uuid(high=random.getrandbits(64), low=random.getrandbits(64))
        self.incarnation, self.last, self.next = 0, 0, 1  # last acknowledged, next to be given
        self.window = []  # batches in flight, as (publish, body)

    def publish(self, payloads):
        """Sends a batch when the window has room. It stays the same, however often it is sent."""
        while not self.is_open or len(self.window) == WINDOW:
            self.turn()
        body = wire.Records(payload=payloads).SerializeToString()
        publish = wire.Publish(group_id=self.group_id, lineage=self.lineage)
        publish.batches.add(
            topic=self.topic, publisher=self.id, incarnation=self.incarnation, count=len(payloads),
            first_sequence=self.next, raw_length=len(body), checksum=crc32c(body))
        self.next += len(payloads)
        self.window.append((publish, body))
        self.send(body, publish=publish)

    def turn(self, *files):
        """Takes a frame, or waits for one. Returns whether a file can be read instead."""
        now = time.monotonic()
        if self.is_open and not self.window:
            self.moved_at = now
        try:
            if not self.socket:
                self.open_session()
            readable, _, ended = zmq.select([self.socket, *files], [], [*files], QUIET)
            if self.socket in readable:
                self.pings = 0
                self.take(*self.receive())
            elif readable or ended:
                return True
            elif self.pings == PINGS or now > max(self.since, self.moved_at) + PATIENCE:
                raise Leave
            else:
                self.pings += 1
                self.send(ping=wire.Ping())
        except (Leave, zmq.ZMQError, DecodeError):
            if now > self.moved_at + self.timeout:
                sys.exit("no acknowledgement: check that the cluster has a primary and is the same")
            self.is_open, self.socket = False, self.socket and self.socket.close()
            backoff = random.uniform(0, min(0.500, 0.010 * 2 ** min(self.attempts, 6)))
            time.sleep(min(self.later, 0.500) + (0 if self.hint else backoff))
            self.attempts, self.later = self.attempts + 1, 0.0
        return False

    def open_session(self):
        self.connect(self.hint or self.find_primary())
        self.send(open_session=wire.OpenSession(
            group_id=self.group_id, lineage=self.lineage, publisher=self.id, nonce=self.nonce,
            incarnation=self.incarnation))

    def find_primary(self):
        """The address of the primary, as some replica of discovery knows it."""
        self.connect("tcp://" + random.choice(self.replicas))
        self.send(lookup=wire.Lookup(fresh=self.attempts % 2 == 1))
        kind, route = self.receive() if self.socket.poll(LOOKUP_LIMIT * 1000) else (None, None)
        self.socket = self.socket.close()
        if kind != "route" or not route.HasField("group_id"):
            raise Leave
        other = self.group_id not in (None, route.group_id)
        if other and route.fresh:
            sys.exit("this is another cluster, or it lost all data: begin again")
        if other or (route.lineage, route.epoch) < self.known:
            raise Leave  # A route never goes back.
        self.known, self.later = (route.lineage, route.epoch), route.retry_after_ms / 1000
        self.group_id, self.lineage = route.group_id, self.lineage or route.lineage
        return route.primary.address  # While there is none, it is empty: that cannot be dialled.

    def connect(self, address):
        self.pings, self.since, self.hint = 0, time.monotonic(), None
        self.socket = zmq.Context.instance().socket(zmq.DEALER)
        self.socket.linger, self.socket.reconnect_ivl, self.socket.ipv6 = 0, -1, True
        self.socket.connect(address)

    def send(self, *bodies, **message):
        head = wire.Envelope(version=1, **message).SerializeToString()
        with suppress(zmq.Again):  # What the peer does not take goes out again on the next link.
            self.socket.send_multipart([head, *bodies], zmq.NOBLOCK)

    def receive(self):
        envelope = wire.Envelope.FromString(self.socket.recv_multipart()[0])
        kind = envelope.WhichOneof("message") if envelope.version == 1 else None
        return kind, kind and getattr(envelope, kind)

    def take(self, kind, message):
        if kind == "refusal" and (reason := message.WhichOneof("reason")):
            self.refused(reason, getattr(message, reason))
        elif kind in ("session_opened", "publish_ack") and message.publisher == self.id:
            self.heard(kind == "session_opened", message)

    def heard(self, opened, message):
        last = message.last_sequence
        if opened and self.incarnation not in (0, message.incarnation):
            self.begin_session("the session has expired, an old request has begun another")
        elif opened and self.last <= last < self.next:  # Else this is not the log of the session.
            self.incarnation, self.is_open, self.attempts = message.incarnation, True, 0
        if opened and not self.is_open:
            raise Leave
        if self.last < last < self.next and message.incarnation == self.incarnation:
            self.acknowledged += last - self.last
            self.last, self.moved_at = last, time.monotonic()
            while self.window and self.window[0][0].batches[0].first_sequence <= last:
                self.window.pop(0)
        for publish, body in self.window if opened else ():
            self.send(body, publish=publish)

    def refused(self, reason, about):
        """Every refusal ends in a new link. It may say where, when, or that the session is over."""
        self.later = getattr(about, "retry_after_ms", 0) / 1000
        if reason == "not_primary" and (self.known[0], about.epoch) > self.known:
            self.known, self.hint = (self.known[0], about.epoch), about.primary.address
        elif reason == "lineage_changed" and about.group_id == self.group_id:
            if about.lineage > self.lineage:
                self.lineage, self.known = about.lineage, max(self.known, (about.lineage, 0))
                self.begin_session("the cluster lost data, perhaps acknowledged records")
        elif reason == "unknown_session":
            self.begin_session("the session has expired")
        elif reason == "fenced" and about.incarnation > self.incarnation:
            sys.exit("another process uses this publisher's identity")
        raise Leave


def main():
    parser = argparse.ArgumentParser(description="Publish each line of standard input as a record.")
    parser.add_argument("topic")
    parser.add_argument("--discovery", required=True, metavar="HOST:PORT,...")
    parser.add_argument("--timeout", type=float, default=30, help="of seconds without progress")
    publisher, rest, block = Publisher(**vars(parser.parse_args())), b"", b"\n"
    while block:
        while not publisher.turn(0):
            pass
        block = sys.stdin.buffer.raw.read(BLOCK) or (rest and b"\n")  # Ends the last line, too.
        *lines, rest = (rest + block).split(b"\n")
        if max(map(len, [rest, *lines])) > MAX_RECORD:
            sys.exit(f"a line has more than {MAX_RECORD} bytes, which is the largest record")
        for payloads in filter(None, (lines[:1], lines[1:])):  # The first may be long.
            publisher.publish(payloads)
    while publisher.window:
        publisher.turn()
    print(f"acknowledged {publisher.acknowledged} records")
    return int(publisher.trouble)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        sys.exit(main())
