"""An HTTP/3 client of aioquic: asks a relay for everything that matters and prints what came, as JSON.

python http3_client.py PORT CA_FILE
"""

import asyncio
import json
import socket
import sys
import time

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, ErrorCode, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, HandshakeCompleted, StreamReset

PORT, CA_FILE = int(sys.argv[1]), sys.argv[2]
ADDRESS = ("127.0.0.1", PORT)
CHAT = "/v1/chat/completions"
LIMIT_S = 20


def configuration(ticket=None):
    made = QuicConfiguration(is_client=True, alpn_protocols=H3_ALPN, server_name="localhost")
    made.load_verify_locations(CA_FILE)
    made.session_ticket = ticket
    return made


class Client(QuicConnectionProtocol):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = H3Connection(self._quic)
        self.inboxes = {}
        self.handshake = None

    def quic_event_received(self, event):
        if isinstance(event, HandshakeCompleted):
            self.handshake = event
        if isinstance(event, ConnectionTerminated):
            for inbox in self.inboxes.values():
                inbox.put_nowait(event)
        if isinstance(event, StreamReset) and event.stream_id in self.inboxes:
            self.inboxes[event.stream_id].put_nowait(event)
        for received in self.http.handle_event(event):
            if received.stream_id in self.inboxes:
                self.inboxes[received.stream_id].put_nowait(received)

    def ask(self, path, body=None):
        stream = self._quic.get_next_available_stream_id()
        self.inboxes[stream] = asyncio.Queue()
        method = b"GET" if body is None else b"POST"
        head = [(b":method", method), (b":scheme", b"https"), (b":authority", b"localhost"), (b":path", path.encode())]
        self.http.send_headers(stream, head + [(b"content-type", b"application/json")], end_stream=body is None)
        if body is not None:
            self.http.send_data(stream, body, end_stream=True)
        self.transmit()
        return stream

    async def answer(self, stream):
        """Status, body, and when each piece of it came."""
        status, body, times = None, b"", []
        while True:
            event = await asyncio.wait_for(self.inboxes[stream].get(), LIMIT_S)
            if isinstance(event, HeadersReceived):
                status = int(dict(event.headers)[b":status"])
            elif isinstance(event, DataReceived):
                body += event.data
                times.append(time.monotonic())
            else:
                raise RuntimeError(f"the stream broke: {event}")
            if event.stream_ended:
                return status, body, times

    def cancel(self, stream):
        self._quic.stop_stream(stream, ErrorCode.H3_REQUEST_CANCELLED)
        self._quic.reset_stream(stream, ErrorCode.H3_REQUEST_CANCELLED)
        self.transmit()


def dial(ticket=None, **options):
    return connect(*ADDRESS, configuration=configuration(ticket), create_protocol=Client, **options)


def question(stream, size=0, **bench):
    made = {"model": "bench", "bench": bench, "stream": stream, "messages": [{"role": "user", "content": ""}]}
    made["messages"][0]["content"] = "x" * max(0, size - len(json.dumps(made)))
    return json.dumps(made).encode()


def amplification():
    """Bytes that come back for one datagram from an address that never answers (RFC 9000 section 8.1)."""
    sent = received = 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        connection = QuicConnection(configuration=configuration())
        connection.connect(ADDRESS, now=time.time())
        for data, address in connection.datagrams_to_send(now=time.time()):
            sent += udp.sendto(data, address)
        udp.settimeout(1)
        try:
            while True:
                received += len(udp.recv(65536))
        except TimeoutError:
            return "below 3" if 0 < received <= 3 * sent else received / sent


async def main():
    found = {}
    tickets = []
    async with dial(session_ticket_handler=tickets.append) as client:
        streams = [client.ask(CHAT, question(True, tokens=50, intervalMs=10)) for _ in range(150)]
        answers = await asyncio.gather(*[client.answer(stream) for stream in streams])
        found["statuses"] = sorted({status for status, _, _ in answers})
        found["wholeStreams"] = sum(
            body.count(b"data: ") == 52 and body.endswith(b"data: [DONE]\n\n") for _, body, _ in answers
        )
        _, _, times = await client.answer(client.ask(CHAT, question(True, tokens=50, intervalMs=10)))
        gaps = [after - before for before, after in zip(times, times[1:])]
        found["longestGapIsShort"] = len(gaps) > 25 and max(gaps) < 0.25
        _, body, _ = await client.answer(client.ask(CHAT, question(False, 16 * 1024 * 1024)))
        found["uploaded"] = json.loads(body)["usage"]["prompt_tokens"]
        stream = client.ask(CHAT, question(True, tokens=1000, intervalMs=50))
        while not isinstance(await asyncio.wait_for(client.inboxes[stream].get(), LIMIT_S), DataReceived):
            pass
        client.cancel(stream)
        end = time.monotonic() + LIMIT_S
        while time.monotonic() < end:
            _, body, _ = await client.answer(client.ask("/health"))
            found["inFlightAfterCancel"] = json.loads(body)["requests_in_flight"]
            if found["inFlightAfterCancel"] == 0:
                break
    async with dial(tickets[0]) as client:
        await client.answer(client.ask("/livez"))
        found["resumed"] = client.handshake.session_resumed
        found["earlyData"] = client.handshake.early_data_accepted or bool(tickets[0].max_early_data_size)
    found["amplification"] = amplification()
    print(json.dumps(found))


asyncio.run(main())
