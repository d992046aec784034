"""What a cluster seldom says, said by a stand-in. Run with `python3 -m unittest`."""

import contextlib
import io
import pathlib
import threading
import time
import unittest

import zmq

import steadfast_pb2 as wire
from publisher import Publisher
import subscriber
from subscriber import Subscriber

HERE = pathlib.Path(__file__).parent
LOG, OTHER = wire.Uuid(high=1), wire.Uuid(high=2)
PATIENCE = 20.0  # s, for a test that fails


class Broker:
    """Discovery and primary in one. `answers` are functions of a request that return messages with
    their bodies: one for each request, and the last one for all that follow.
    """

    def __init__(self, *answers, group_id=LOG):
        self.answers, self.heard, self.group_id, self.lineage = list(answers), [], group_id, 1
        self.granted = []
        self.socket = zmq.Context.instance().socket(zmq.ROUTER)
        self.socket.linger = 0
        self.address = f"127.0.0.1:{self.socket.bind_to_random_port('tcp://127.0.0.1')}"
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self):
        while not self.ended.is_set():
            if self.socket.poll(20):
                link, head, *bodies = self.socket.recv_multipart()
                envelope = wire.Envelope.FromString(head)
                kind = envelope.WhichOneof("message")
                for message, *parts in self.say(kind, getattr(envelope, kind), bodies):
                    message = wire.Envelope(version=1, **message).SerializeToString()
                    self.socket.send_multipart([link, message, *parts])
        self.socket.close()

    def say(self, kind, message, bodies):
        if kind == "lookup":
            primary = wire.Endpoint(node="a", address="tcp://" + self.address)
            return [({"route": wire.Route(
                group_id=self.group_id, lineage=self.lineage, epoch=1, primary=primary,
                fresh=message.fresh)},)]
        if kind == "ping":
            return [({"pong": wire.Pong()},)]
        if kind == "credit":
            self.granted.append(message.limit)
        if kind in ("open_session", "open_stream", "publish"):
            self.heard.append((kind, message, bodies))
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            said = answer(message)
            if said and "refusal" in said[0][0]:
                self.lineage = said[0][0]["refusal"].lineage_changed.lineage or self.lineage
            return said
        return []

    def end(self):
        self.ended.set()
        self.thread.join()

    def kinds(self):
        return [kind for kind, _, _ in self.heard]


def opened(incarnation, last=0):
    return lambda asked: [({"session_opened": wire.SessionOpened(
        group_id=asked.group_id, lineage=asked.lineage, epoch=1, publisher=asked.publisher,
        incarnation=incarnation, last_sequence=last)},)]


def acknowledged(sent):
    header = sent.batches[0]
    return [({"publish_ack": wire.PublishAck(
        group_id=sent.group_id, lineage=sent.lineage, epoch=1, publisher=header.publisher,
        incarnation=header.incarnation, last_sequence=header.first_sequence + header.count - 1)},)]


def refusal(**reason):
    return lambda _: [({"refusal": wire.Refusal(**reason)},)]


def silence(_):
    return []


class Publishing(unittest.TestCase):
    def run_publisher(self, *answers):
        """Publishes two batches to a broker that says this. Returns broker, publisher, errors."""
        broker, errors = Broker(*answers), io.StringIO()
        self.addCleanup(broker.end)
        publisher = Publisher(broker.address, "a.b", PATIENCE)
        self.addCleanup(lambda: publisher.socket and publisher.socket.close())
        with contextlib.redirect_stderr(errors):
            publisher.publish([b"one", b"two"])
            while publisher.window:
                publisher.turn()
            publisher.publish([b"three"])
            while publisher.window:
                publisher.turn()
        return broker, publisher, errors.getvalue()

    def test_what_a_broker_did_not_take_comes_again_as_the_same_bytes(self):
        busy = wire.Busy(expect=1, retry_after_ms=20)
        for reason in ({"gap": wire.Gap(expect=1)}, {"busy": busy}, {"electing": wire.Electing()},
                       {"not_primary": wire.NotPrimary()}, {"invalid": wire.Invalid(detail="x")}):
            with self.subTest(reason):
                broker, publisher, errors = self.run_publisher(
                    opened(5), refusal(**reason), opened(5), acknowledged)
                again = ["open_session", "publish"] * 2 + ["publish"]
                self.assertEqual((broker.kinds(), errors), (again, ""))
                first, second = broker.heard[1], broker.heard[3]
                self.assertEqual(first[1].SerializeToString(), second[1].SerializeToString())
                self.assertEqual(first[2], second[2])
                self.assertEqual(broker.heard[2][1].incarnation, 5)
                self.assertEqual((publisher.acknowledged, publisher.trouble), (3, False))

    def test_what_is_committed_already_does_not_come_again(self):
        broker, publisher, _ = self.run_publisher(opened(5), silence, opened(5, 2), acknowledged)
        self.assertEqual(broker.kinds(), ["open_session", "publish"] * 2)
        self.assertEqual(broker.heard[3][1].batches[0].first_sequence, 3)
        self.assertEqual((publisher.acknowledged, publisher.trouble), (3, False))

    def test_a_log_without_what_was_acknowledged_is_not_believed(self):
        broker, publisher, _ = self.run_publisher(
            opened(5), acknowledged, silence, opened(5, 1), opened(5, 3))
        self.assertEqual(broker.kinds()[-2:], ["open_session"] * 2)
        self.assertEqual((publisher.acknowledged, publisher.trouble), (3, False))

    def lost_session(self, *said):
        """What is in flight is unknown, and what comes later goes into another session."""
        broker, publisher, errors = self.run_publisher(opened(5), *said, opened(7), acknowledged)
        (kind, asked, _), (_, publish, bodies) = broker.heard[-2:]
        self.assertEqual((kind, asked.incarnation), ("open_session", 0))
        self.assertNotEqual(asked.nonce, broker.heard[0][1].nonce)
        self.assertEqual((publish.batches[0].first_sequence, bodies), (1, [b"\n\x05three"]))
        self.assertEqual((publisher.acknowledged, publisher.trouble), (1, True))
        self.assertIn("of unknown fate: 2", errors)
        return asked

    def test_an_unknown_session_is_over(self):
        self.lost_session(refusal(unknown_session=wire.UnknownSession()))

    def test_a_session_of_another_number_is_not_ours(self):
        self.lost_session(silence, opened(6))

    def test_a_new_lineage_is_followed(self):
        changed = wire.LineageChanged(group_id=LOG, lineage=2)
        self.assertEqual(self.lost_session(refusal(lineage_changed=changed)).lineage, 2)

    def test_a_later_session_of_the_same_identity_ends_it(self):
        with self.assertRaises(SystemExit):
            self.run_publisher(opened(5), refusal(fenced=wire.Fenced(incarnation=6)))


def stream(start, *delivered, group_id=LOG, lineage=1):
    """The stream begins at `start`; frames with their bodies follow."""
    at = start
    if isinstance(start, int):
        at = wire.Position(lineage=1, epoch=1, offset=start)
    history = {"group_id": group_id, "lineage": lineage}
    return lambda asked: [
        ({"stream_opened": wire.StreamOpened(stream=asked.stream, epoch=5, start=at, **history)},),
        *(({"deliver": frame}, *bodies) for frame, *bodies in delivered)]


def position(offset, lineage=1, epoch=1, group_id=LOG):
    subscriber = Subscriber("127.0.0.1:1", [">"])
    subscriber.group_id = group_id
    subscriber.position = wire.Position(lineage=lineage, epoch=epoch, offset=offset)
    return subscriber.bookmark()


class Subscribing(unittest.TestCase):
    def read(self, count, start, *answers, group_id=LOG):
        """So many items, and one turn more. Returns broker, subscriber, items."""
        broker = Broker(*answers, group_id=group_id)
        self.addCleanup(broker.end)
        subscriber = Subscriber(broker.address, [">"], start)
        self.addCleanup(lambda: subscriber.socket and subscriber.socket.close())
        items, end = [], time.monotonic() + PATIENCE
        for item in subscriber:
            items += [] if item is None else [item]
            if item is None and len(items) >= count and len(broker.heard) >= len(answers):
                break
            self.assertLess(time.monotonic(), end, items)
        return broker, subscriber, items

    def test_the_golden_delivery_loses_what_cannot_be_decoded_and_goes_on(self):
        golden = (HERE.parents[2] / "proto" / "golden" / "deliver.hex").read_text().split()
        head, *bodies = map(bytes.fromhex, golden)
        deliver = wire.Envelope.FromString(head).deliver
        start = wire.Position(lineage=2, epoch=5, offset=303)
        # The same frame again does not continue the stream: it is opened again where it stands.
        group, frame = deliver.group_id, (deliver, *bodies)
        broker, subscriber, items = self.read(
            3, position(303, 2, 5, group), stream(start, frame, frame, group_id=group, lineage=2),
            silence, group_id=group)
        self.assertEqual(items, [b"", b"three", "records 305 to 306 (exclusive) cannot be decoded"])
        self.assertEqual(broker.heard[1][1].position, deliver.upto)
        self.assertEqual(subscriber.bookmark(), position(310, 2, 5, deliver.group_id))

    def test_a_start_above_the_position_is_a_loss(self):
        _, subscriber, items = self.read(1, position(10), stream(20))
        self.assertEqual(items, ["records 10 to 20 (exclusive) are no longer kept"])
        self.assertEqual(subscriber.position.offset, 20)

    def test_a_new_lineage_is_reported_and_read_from_its_beginning(self):
        changed = wire.LineageChanged(group_id=LOG, lineage=2)
        broker, _, items = self.read(1, position(10), refusal(lineage_changed=changed), silence)
        self.assertIn("perhaps also what was delivered", items[0])
        asked = broker.heard[1][1]
        self.assertEqual((asked.lineage, asked.position), (2, wire.Position(lineage=2)))

    def test_a_log_that_went_another_way_is_reported(self):
        broker, _, items = self.read(
            1, position(10, epoch=3), refusal(diverged=wire.Diverged(common=4)), silence)
        self.assertEqual(items, ["records from 4 on were replaced by others"])
        self.assertEqual(broker.heard[1][1].position, wire.Position(lineage=1, epoch=3, offset=4))

    def test_another_cluster_is_believed_on_a_fresh_answer_and_ends_it(self):
        with self.assertRaises(SystemExit):
            self.read(1, position(10), silence, group_id=OTHER)

    def test_credit_that_may_be_lost_is_granted_again(self):
        body = bytes(subscriber.CREDIT)  # All that the stream was opened with.
        entry = wire.Entry(epoch=1, batch=wire.BatchHeader(count=1, checksum=1))
        upto = wire.Position(lineage=1, epoch=1, offset=1)
        frame = wire.Deliver(lineage=1, epoch=5, entries=[entry], upto=upto)
        asked = []
        broker = Broker(lambda message: asked.append(message) or stream(0, (frame, body))(message))
        self.addCleanup(broker.end)
        reader = Subscriber(broker.address, [">"])
        self.addCleanup(lambda: reader.socket and reader.socket.close())
        turns, end = iter(reader), time.monotonic() + PATIENCE
        while len(broker.granted) < 2:
            self.assertLess(time.monotonic(), end)
            next(turns)
        self.assertEqual(broker.granted, [2 * subscriber.CREDIT] * 2)
        self.assertEqual(len(asked), 1)

    def test_a_changed_position_is_refused(self):
        text = position(3)
        for wrong in (text[:-1], text.replace("-3-", "-4-"), "", "later", "0-12"):
            with self.assertRaises(SystemExit):
                Subscriber("127.0.0.1:1", [">"], wrong)


class Programs(unittest.TestCase):
    def test_topics_and_filters(self):
        topics = ("a", ""), ("a.b", "a..b"), ("ü.1", "a b"), ("a", "a.*"), ("a", "a" * 256)
        for good, bad in topics:
            Publisher("127.0.0.1:1", good)
            self.assertRaises(SystemExit, Publisher, "127.0.0.1:1", bad)
        for good, bad in ((">", ">.a"), ("*", "a>"), ("a.*.c", "*a"), ("a.>", "a\n")):
            Subscriber("127.0.0.1:1", [good])
            self.assertRaises(SystemExit, Subscriber, "127.0.0.1:1", [bad])
        self.assertRaises(SystemExit, Subscriber, "127.0.0.1", [">"])

    def test_each_is_a_whole_client_in_less_than_200_lines(self):
        for program in ("publisher.py", "subscriber.py"):
            text = (HERE / program).read_text()
            self.assertLess(text.count("\n"), 200, program)
            self.assertLessEqual(max(map(len, text.splitlines())), 100, program)
            own = {path.stem for path in HERE.glob("*.py")} - {"steadfast_pb2"}
            for line in text.splitlines():
                if line.startswith(("import ", "from ")):
                    self.assertNotIn(line.split()[1], own, program)
