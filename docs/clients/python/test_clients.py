"""What a cluster seldom says, said by a stand-in: refusals, gaps, damaged batches. Run with `python3 -m unittest`."""

import pathlib
import time
import unittest

import steadfast_pb2 as wire
from inbox import Gap
from publisher import Publisher, Stopped
from subscriber import Subscriber
from texts import is_filter, is_topic, read_position, write_position

GOLDEN = pathlib.Path(__file__).parents[3] / "proto" / "golden"
LOG, OTHER, NODE = wire.Uuid(high=1), wire.Uuid(high=2), wire.Uuid(low=7)


class Primary:
    """In place of a link: keeps what was sent."""

    def __init__(self):
        self.sent = []

    def send(self, bodies=(), **message):
        self.sent += [(kind, part, list(bodies)) for kind, part in message.items()]

    def close(self):
        pass

    def taken(self):
        taken, self.sent = self.sent, []
        return taken


def attach(client):
    endpoint = wire.Endpoint(node="a", incarnation=NODE, address="tcp://127.0.0.1:1")
    client.route = wire.Route(group_id=LOG, lineage=1, epoch=1, primary=endpoint)
    client.endpoint, client.primary = endpoint, Primary()
    client.attached()
    return client.primary


def refuse(client, stream=0, **reason):
    client.primary_says("refusal", wire.Refusal(stream=stream, **reason), [])


class Publishing(unittest.TestCase):
    def setUp(self):
        self.publisher = Publisher("127.0.0.1:1")
        self.publisher.poll = lambda *_: []
        self.primary = attach(self.publisher)
        self.open()
        for payload in b"one", b"two":
            self.publisher.publish(payload.decode(), payload)
        self.publisher.tick(time.monotonic())
        (self.kind, self.message, self.bodies), = self.primary.taken()

    def open(self, **fields):
        opened = dict(group_id=LOG, lineage=1, epoch=1, publisher=self.publisher.id, incarnation=1)
        self.publisher.primary_says("session_opened", wire.SessionOpened(**{**opened, **fields}), [])
        self.primary.taken()

    def test_a_gap_is_answered_once_and_with_the_same_bytes(self):
        self.assertEqual((self.kind, len(self.message.batches)), ("publish", 2))
        for _ in range(2):
            refuse(self.publisher, gap=wire.Gap(publisher=self.publisher.id, expect=1))
        (_, message, bodies), = self.primary.taken()
        self.assertEqual((message.SerializeToString(), bodies), (self.message.SerializeToString(), self.bodies))
        self.assertEqual(self.publisher.acknowledged, 0)

    def test_busy_puts_off_what_it_names(self):
        refuse(self.publisher, busy=wire.Busy(publisher=self.publisher.id, expect=2, retry_after_ms=20))
        self.publisher.tick(time.monotonic())
        self.assertEqual(self.primary.taken(), [])
        self.publisher.tick(time.monotonic() + 1)
        (_, message, bodies), = self.primary.taken()
        self.assertEqual((message.batches[0].first_sequence, bodies), (2, self.bodies[1:]))

    def test_an_unknown_session_leaves_what_was_sent_unknown(self):
        refuse(self.publisher, unknown_session=wire.UnknownSession(publisher=self.publisher.id))
        (kind, message, _), = self.primary.taken()
        self.assertEqual((self.publisher.unknown, kind, message.incarnation), (2, "open_session", 0))
        self.publisher.publish("three", b"three")
        self.open(incarnation=2)
        self.publisher.tick(time.monotonic())
        self.assertEqual(self.publisher.window.sent[0].header.first_sequence, 1)

    def test_another_log_is_believed_after_a_fresh_route_only(self):
        refuse(self.publisher, lineage_changed=wire.LineageChanged(group_id=OTHER, lineage=1))
        self.assertIsNone(self.publisher.primary)
        self.assertTrue(self.publisher.want_fresh)
        route = wire.Route(group_id=OTHER, lineage=1, epoch=1)
        self.publisher.discovery_says("route", route, [])
        self.assertEqual(self.publisher.route.group_id, LOG)
        self.publisher.discovery_says("route", wire.Route(group_id=OTHER, lineage=1, epoch=1, fresh=True), [])
        self.assertEqual(self.publisher.route.group_id, OTHER)

    def test_a_later_session_of_the_same_identity_ends_it(self):
        refuse(self.publisher, fenced=wire.Fenced(publisher=self.publisher.id, incarnation=1))
        with self.assertRaises(Stopped):
            refuse(self.publisher, fenced=wire.Fenced(publisher=self.publisher.id, incarnation=2))

    def test_acknowledgements_are_cumulative_and_never_go_back(self):
        ack = dict(group_id=LOG, lineage=1, epoch=1, publisher=self.publisher.id, incarnation=1)
        for last, expected in (3, 0), (1, 1), (0, 1), (2, 2):
            self.publisher.primary_says("publish_ack", wire.PublishAck(last_sequence=last, **ack), [])
            self.assertEqual(self.publisher.acknowledged, expected)


class Subscribing(unittest.TestCase):
    def begin(self, begin, **opened):
        self.subscriber = Subscriber("127.0.0.1:1", [">"], begin)
        self.subscriber.poll = lambda *_: []
        self.primary = attach(self.subscriber)
        self.primary.taken()
        opened = wire.StreamOpened(stream=self.subscriber.stream, epoch=5, **opened)
        self.subscriber.primary_says("stream_opened", opened, [])

    def items(self):
        return list(iter(lambda: self.subscriber.next(0), None))

    def test_the_golden_delivery_loses_what_cannot_be_decoded_and_goes_on(self):
        head, *bodies = map(bytes.fromhex, (GOLDEN / "deliver.hex").read_text().split())
        deliver = wire.Envelope.FromString(head).deliver
        place = deliver.group_id, wire.Position(lineage=2, epoch=5, offset=303)
        self.begin(write_position(place), group_id=deliver.group_id, lineage=2, start=place[1])
        self.subscriber.primary_says("deliver", deliver, bodies)
        second, third, gap = self.items()
        self.assertEqual((second.payload, second.offset, second.sequence), (b"", 303, 2))
        self.assertEqual((third.payload, third.place[1].offset), (b"three", 305))
        self.assertIn("305 to 306", gap.text)
        self.assertEqual(read_position(self.subscriber.bookmark())[1].offset, 310)
        # The same frame again does not continue the stream.
        self.subscriber.primary_says("deliver", deliver, bodies)
        self.assertEqual((self.items(), self.subscriber.state), ([], "waiting"))

    def test_a_start_above_the_position_is_a_loss(self):
        at, kept = (wire.Position(lineage=1, epoch=5, offset=offset) for offset in (10, 20))
        self.begin(write_position((LOG, at)), group_id=LOG, lineage=1, start=kept)
        gap, = self.items()
        self.assertIn("10 to 20", gap.text)

    def test_a_new_lineage_is_reported_and_read_from_its_beginning(self):
        self.begin("latest", group_id=LOG, lineage=1, start=wire.Position(lineage=1, epoch=5, offset=10))
        refuse(self.subscriber, lineage_changed=wire.LineageChanged(group_id=LOG, lineage=2))
        kind, message, _ = self.primary.taken()[-1]
        self.assertEqual((kind, message.lineage, message.position), ("open_stream", 2, wire.Position(lineage=2)))
        self.assertIsInstance(self.items()[0], Gap)

    def test_a_log_that_went_another_way_is_reported(self):
        self.begin("latest", group_id=LOG, lineage=1, start=wire.Position(lineage=1, epoch=5, offset=10))
        refuse(self.subscriber, stream=self.subscriber.stream, diverged=wire.Diverged(common=4))
        self.assertEqual(self.subscriber.position, wire.Position(lineage=1, epoch=5, offset=4))
        self.assertIn("from 4 on", self.items()[0].text)


class Text(unittest.TestCase):
    def test_topics_and_filters(self):
        self.assertTrue(all(map(is_topic, ("a", "a.b", "ü.1"))))
        self.assertFalse(any(map(is_topic, ("", "a..b", "a.", "a b", "a.*", "a.>", "a.b*", "a\n", "a" * 256))))
        self.assertTrue(all(map(is_filter, (">", "*", "a.*.c", "a.>"))))
        self.assertFalse(any(map(is_filter, ("", ">.a", "a>", "*a"))))

    def test_a_changed_position_is_refused(self):
        text = write_position((LOG, wire.Position(lineage=1, epoch=2, offset=3)))
        self.assertEqual(write_position(read_position(text)), text)
        for wrong in (text[:-1], text.replace("-3-", "-4-"), "", "latest"):
            self.assertRaises(ValueError, read_position, wrong)
