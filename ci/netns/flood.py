"""What the test flood.sh has beside the program: first messages recorded, and sent again as fast as this machine can.

    flood.py record FILE COUNT ADDRESS PORT...   takes first messages that come to these ports
    flood.py flood FILE SECONDS TO PORT          sends them, and altered ones, from many addresses; prints how many
    flood.py take PORT                           takes one TCP connection and prints the bytes a second that came by it
    flood.py pour ADDRESS PORT SECONDS           fills such a connection
"""
import random
import select
import socket
import struct
import sys
import time

FIRST, LENGTH = 1, 160


def record(file, count, address, *ports):
    sockets = []
    for port in ports:
        sockets.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sockets[-1].bind((address, int(port)))
    tape = {}
    print("ready", flush=True)
    while len(tape) < int(count):
        for ready in select.select(sockets, [], [])[0]:
            data = ready.recv(2000)
            if len(data) == LENGTH and data[0] == FIRST:
                tape[data[6:38]] = data
    with open(file, "wb") as out:
        out.write(b"".join(tape.values()))


def packet(source, to, port, data):
    """An IPv4 packet with a UDP datagram; the kernel fills in length and checksum of the first."""
    head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 0, 0, 0, 64, 17, 0, source, socket.inet_aton(to))
    return head + struct.pack(">HHHH", random.randrange(1024, 65536), port, 8 + len(data), 0) + data


def flood(file, seconds, to, port):
    with open(file, "rb") as tape:
        data = tape.read()
    messages = [data[at:at + LENGTH] for at in range(0, len(data), LENGTH)]
    packets = []
    for number in range(4000):
        # Half of them from the newcomer's network, half from anywhere; half of them as they were.
        source = bytes([198, 51, 100, random.randrange(100, 200)])
        if number % 2:
            source = bytes([10]) + random.randbytes(3)
        message = bytearray(random.choice(messages))
        if number % 4 > 1:
            message[random.randrange(6, LENGTH)] ^= 1 << random.randrange(8)
        packets.append(packet(source, to, int(port), bytes(message)))
    out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    sent, end = 0, time.monotonic() + float(seconds)
    while time.monotonic() < end:
        for one in packets[sent % 4000:sent % 4000 + 100]:
            try:
                out.sendto(one, (to, 0))
            except OSError:
                continue
        sent += 100
    print(sent)


def take(port):
    listener = socket.create_server(("", int(port)))
    print("ready", flush=True)
    connection, _ = listener.accept()
    total, start = 0, time.monotonic()
    while data := connection.recv(65536):
        total += len(data)
    print(round(total / (time.monotonic() - start)))


def pour(address, port, seconds):
    connection, data = socket.create_connection((address, int(port))), bytes(65536)
    end = time.monotonic() + float(seconds)
    while time.monotonic() < end:
        connection.sendall(data)


{"record": record, "flood": flood, "take": take, "pour": pour}[sys.argv[1]](*sys.argv[2:])
