"""What publisher.py and subscriber.py share: finding a group's primary and following it.

docs/wire.md has the protocol. Everything runs in the caller's thread, inside `Client.poll`.
"""

import math
import random
import time

import zmq

import steadfast_pb2 as wire
from link import BACKOFF_CAP, Link, delay

PRIMARY_PINGS, DISCOVERY_PINGS = (0.150, 3), (0.250, 1)  # after so much silence; so many before a link is given up
LOOKUP_LIMIT = 0.250  # then another replica is asked
DISTRUST = 1.0  # how long one replica's word is followed while it leads to no primary
TICK = 0.020  # how often deadlines are looked at
FRAMES = 64  # taken from a link in one turn


class Client:
    """Finds the primary and follows it. A subclass has `history`: (group_id, lineage), and says what to do when it is
    `attached` and `detached`, with what is `received` and `refused`, and when a `tick` of the clock has passed.
    """

    def __init__(self, discovery):
        self.replicas = ["tcp://" + address.strip().removeprefix("tcp://") for address in discovery.split(",")]
        self.replica = random.randrange(len(self.replicas))
        self.discovery = self.primary = None  # links
        self.route = self.hint = self.endpoint = self.tried = None
        self.confirmed = False  # whether a fresh answer has named the route's group log
        self.epoch = 0  # of the primary that the link leads to
        self.want_fresh = False
        self.find_at = self.dial_at = 0.0
        self.ask_at = self.answer_due = math.inf
        self.attempts = self.finding_attempts = 0
        self.searching_since = time.monotonic()

    def poll(self, timeout=0.0, *files):
        """Does what is due, and waits for frames or readable files. Returns the files that can be read."""
        self.do_what_is_due(time.monotonic())
        poller = zmq.Poller()
        for link in filter(None, (self.discovery, self.primary)):
            poller.register(link.socket, zmq.POLLIN)
            poller.register(link.monitor, zmq.POLLIN)
        for file in files:
            poller.register(file, zmq.POLLIN)
        readable = {source for source, _ in poller.poll(min(timeout, TICK) * 1000)}
        for name, handle in ("discovery", self.discovery_says), ("primary", self.primary_says):
            link = getattr(self, name)
            for _ in range(FRAMES):
                # What a frame leads to may replace the link.
                frame = link.receive() if link and link is getattr(self, name) else None
                if frame is None:
                    break
                if frame[0] == "ping":
                    link.send(pong=wire.Pong(token=frame[1].token))
                handle(*frame)
        return [file for file in files if file in readable]

    def do_what_is_due(self, now):
        if self.discovery is None:
            if now >= self.find_at:
                self.discovery = Link(self.replicas[self.replica], *DISCOVERY_PINGS)
                self.searching_since = now if self.searching_since else None
                self.ask(now)
        elif not self.discovery.is_alive(now) or now >= self.answer_due or self.is_distrusted(now):
            self.try_next_replica(now)
        elif now >= self.ask_at:
            self.ask(now)
        if self.primary is not None:
            if not self.primary.is_alive(now):
                self.give_up()
        elif now >= self.dial_at and self.target():
            self.dial()
        self.tick(now)

    # Discovery.

    def ask(self, now):
        """One look-up at a time; `watch` has later changes pushed."""
        if self.discovery is not None and self.answer_due == math.inf:
            self.discovery.send(lookup=wire.Lookup(group=0, watch=True, fresh=self.want_fresh))
            self.answer_due, self.ask_at = now + LOOKUP_LIMIT, math.inf

    def is_distrusted(self, now):
        return len(self.replicas) > 1 and self.searching_since and now >= self.searching_since + DISTRUST

    def try_next_replica(self, now):
        self.discovery.close()
        self.discovery, self.replica = None, (self.replica + 1) % len(self.replicas)
        self.answer_due = self.ask_at = math.inf
        self.find_at, self.finding_attempts = now + delay(self.finding_attempts), self.finding_attempts + 1

    def discovery_says(self, kind, route, _bodies):
        if kind != "route":
            return
        now, self.finding_attempts = time.monotonic(), 0
        if route.fresh or not self.want_fresh:
            self.answer_due, self.want_fresh = math.inf, False
        self.offer(route, now)
        if self.searching_since:
            self.ask_at = now + min(max(route.retry_after_ms / 1000, 0.050), BACKOFF_CAP) + random.uniform(0, 0.050)

    def offer(self, route, now):
        """Takes a route that goes forward: (lineage, epoch, config) never goes back within one group log."""
        if not route.HasField("group_id"):
            return
        known = self.route
        if known and known.group_id == route.group_id:
            self.confirmed |= route.fresh
            learns = route.HasField("primary") and route.primary != known.primary
            if not (place(route) > place(known) or place(route) == place(known) and learns):
                return
            self.hint = self.hint if self.hint and self.hint[0] > route.epoch else None
        elif known and not route.fresh:
            self.want_fresh = True  # Another log: believed only on a fresh answer.
            return self.ask(now)
        else:
            self.hint, self.confirmed = None, route.fresh
        self.route = route
        self.follow(known is not None and known.group_id != route.group_id)

    def believes(self, own, told):
        """Whether a broker's word that another history holds may be believed."""
        if told.group_id == own[0]:
            if told.lineage > self.route.lineage:
                self.route.lineage, self.route.config = told.lineage, 0
            return told.lineage > own[1]
        named = self.confirmed and self.route.group_id == told.group_id and self.route.lineage <= told.lineage
        if not named:
            self.want_fresh = True
            self.ask(time.monotonic())
        return named

    # The primary.

    def target(self):
        if self.hint:
            return self.hint
        return (self.route.epoch, self.route.primary) if self.route and self.route.HasField("primary") else None

    def follow(self, moved=False):
        """Goes to a new target at once, but not back to one that was tried."""
        target = self.target()
        if target is None or (self.primary and target[1] == self.endpoint):
            return
        if self.primary is None:
            self.dial_at, self.attempts = (0.0, 0) if target[1] != self.tried else (self.dial_at, self.attempts)
        elif moved or target[0] > self.epoch:
            self.give_up()
            self.dial_at, self.attempts = 0.0, 0

    def dial(self):
        self.epoch, self.endpoint = self.target()
        self.tried = self.endpoint
        self.primary = Link(self.endpoint.address, *PRIMARY_PINGS)
        self.attached()

    def primary_says(self, kind, message, bodies):
        self.searching_since, self.ask_at = None, math.inf
        if kind != "refusal":
            return self.received(kind, message, bodies)
        reason = message.WhichOneof("reason")
        about = reason and getattr(message, reason)
        if reason == "not_primary":
            self.not_primary(about)
        elif reason == "invalid" or reason == "lineage_changed" and not self.believes(self.history, about):
            self.give_up()
        elif reason:
            self.refused(reason, about, message.stream)

    def give_up(self):
        """Leaves the primary. Another attempt follows after a while, or when there is a new target."""
        now = time.monotonic()
        self.primary.close()
        self.primary = None
        self.hint = self.hint if self.hint and self.hint[1] != self.endpoint else None
        self.dial_at, self.attempts = now + delay(self.attempts), self.attempts + 1
        self.searching_since = self.searching_since or now
        self.ask(now)
        self.detached()

    def not_primary(self, refusal):
        """A hint counts if it names a higher epoch than everything known."""
        if refusal.HasField("primary") and refusal.epoch > max(self.route.epoch, self.hint[0] if self.hint else 0):
            self.hint = (refusal.epoch, refusal.primary)
        self.give_up()
        self.follow()

    def close(self):
        for link in filter(None, (self.discovery, self.primary)):
            link.close()
        self.discovery = self.primary = None


def place(route):
    return route.lineage, route.epoch, route.config
