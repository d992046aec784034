"""One connection, frames in and out, and signs of life. docs/wire.md has the protocol."""

import random
import time

import zmq
from google.protobuf.message import DecodeError

import steadfast_pb2 as wire

VERSION = 1
MAX_BODY = (1 << 20) + 64  # bytes of the largest part
ENDED = zmq.EVENT_CLOSED | zmq.EVENT_DISCONNECTED | zmq.EVENT_CONNECT_RETRIED
ENDED |= zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
BACKOFF, BACKOFF_CAP = 0.010, 0.500  # s


def delay(attempts):
    """Before something is tried again. Full jitter: between nothing and twice as much with every attempt."""
    return random.uniform(0, min(BACKOFF_CAP, BACKOFF * 2 ** min(attempts, 20)))


def put_off(retry_after_ms):
    """When to try again what a broker has put off."""
    return time.monotonic() + min(max(retry_after_ms / 1000, BACKOFF), BACKOFF_CAP) + random.uniform(0, BACKOFF)


class Link:
    """One connection of one DEALER. It is never mended: a lost link is replaced by a new one."""

    def __init__(self, address, interval, patience):
        self.socket = zmq.Context.instance().socket(zmq.DEALER)
        for option, value in [(zmq.LINGER, 0), (zmq.RECONNECT_IVL, -1), (zmq.IPV6, 1), (zmq.MAXMSGSIZE, MAX_BODY)]:
            self.socket.setsockopt(option, value)
        self.monitor = self.socket.get_monitor_socket(ENDED)
        self.socket.connect(address)
        self.interval, self.patience = interval, patience
        self.quiet_since, self.unanswered, self.failed = time.monotonic(), 0, False

    def send(self, bodies=(), **message):
        """Sends for example `ping=wire.Ping()`. It never waits: a peer that does not read is left."""
        parts = [wire.Envelope(version=VERSION, **message).SerializeToString(), *bodies]
        try:
            self.socket.send_multipart(parts, zmq.NOBLOCK)
        except zmq.Again:
            self.failed = True

    def receive(self):
        """The next (kind, message, bodies), or None. Frames that make no sense are dropped."""
        while self.socket.getsockopt(zmq.EVENTS) & zmq.POLLIN:
            head, *bodies = self.socket.recv_multipart()
            self.quiet_since, self.unanswered = time.monotonic(), 0
            try:
                envelope = wire.Envelope.FromString(head)
            except DecodeError:
                continue
            kind = envelope.WhichOneof("message")
            if envelope.version == VERSION and kind:
                return kind, getattr(envelope, kind), bodies
        return None

    def is_alive(self, now):
        """Pings a quiet peer. Silence is counted in pings, so that a stall of this process is not held against it."""
        if self.failed or self.monitor.poll(0):
            return False
        if now >= self.quiet_since + self.interval:
            if self.unanswered >= self.patience:
                return False
            self.quiet_since, self.unanswered = now, self.unanswered + 1
            self.send(ping=wire.Ping())
        return True

    def close(self):
        self.socket.disable_monitor()
        self.monitor.close(0)
        self.socket.close(0)
