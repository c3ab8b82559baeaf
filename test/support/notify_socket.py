"""Listens on a notify socket as systemd does and prints what comes, a JSON object a line."""

import json
import os
import socket
import struct
import sys
import threading

# A test that was killed leaves nothing behind: its end closes this input.
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()

address = sys.argv[1]
listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
listener.bind("\0" + address[1:] if address.startswith("@") else address)
print("listens", flush=True)
while True:
    data, ancillary, _flags, _from = listener.recvmsg(4096, socket.CMSG_SPACE(12))
    pid = next((struct.unpack("3i", part)[0] for _, _, part in ancillary), 0)
    print(json.dumps({"pid": pid, "text": data.decode()}), flush=True)
