"""libzmq on the other end of a link: what it sends must come back, and back goes what it gets.

dealer ADDRESS  dials; --twins: two sockets with one identity
router          listens, prints where, and ends when it is told to
--heartbeats    libzmq asks for signs of life every 50 ms, and gives up who gives none
"""

import sys
import time

import zmq

PATIENCE_MS = 20_000
FRAMES = [[b"head", b"", bytes(300)], [b"a" * 255, b"b" * 256], [b"x" * (1 << 20)] * 3, [b""]]


def socket(context, kind, flags):
    made = context.socket(kind)
    made.linger = 1_000
    made.rcvtimeo = PATIENCE_MS
    made.sndtimeo = PATIENCE_MS
    if "--heartbeats" in flags:
        made.setsockopt(zmq.HEARTBEAT_IVL, 50)
        made.setsockopt(zmq.HEARTBEAT_TIMEOUT, 500)
        made.setsockopt(zmq.HEARTBEAT_TTL, 1_000)
    if "--twins" in flags:
        made.identity = b"twin"
    return made


def disconnects(monitor):
    """How often libzmq has given a connection up so far."""
    count = 0
    while monitor.poll(0):
        event = int.from_bytes(monitor.recv_multipart()[0][:2], sys.byteorder)
        count += event == zmq.EVENT_DISCONNECTED
    return count


def dealer(context, address, flags):
    sockets = [socket(context, zmq.DEALER, flags) for _ in range(2 if "--twins" in flags else 1)]
    monitors = [one.get_monitor_socket() for one in sockets]
    for one in sockets:
        one.connect(address)
    for _ in range(2):
        for parts in FRAMES:
            for one in sockets:
                one.send_multipart(parts)
            for one in sockets:
                assert one.recv_multipart() == parts
        # Time for some heartbeats.
        time.sleep(1.5 if "--heartbeats" in flags else 0)
    assert not any(map(disconnects, monitors)), "libzmq has given its peer up"


def router(context, flags):
    own = socket(context, zmq.ROUTER, flags)
    monitor = own.get_monitor_socket()
    port = own.bind_to_random_port("tcp://127.0.0.1")
    print(f"tcp://127.0.0.1:{port}", flush=True)
    while True:
        peer, *parts = own.recv_multipart()
        if parts == [b"wait"]:
            time.sleep(1.5 if "--heartbeats" in flags else 0)
            parts = [b"waited"]
        if parts == [b"end"]:
            own.send_multipart([peer, b"ended"])
            break
        own.send_multipart([peer, *parts])
    # Without heartbeats nobody is given up; a connection that only tries whether somebody listens may end.
    assert "--heartbeats" not in flags or not disconnects(monitor), "libzmq has given its peer up"


def main():
    role, *rest = sys.argv[1:]
    context = zmq.Context()
    if role == "dealer":
        dealer(context, rest[0], rest[1:])
    else:
        router(context, rest)
    context.destroy(linger=1_000)


main()
