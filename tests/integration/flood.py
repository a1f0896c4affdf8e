"""A client that never stops asking: N connections, each sends its next request with its last answer.

    flood.py PORT ADDRESS CONNECTIONS BODY [HEADER...]

ADDRESS is the client's own, such as 127.0.0.2. Each answer is one character on standard output, the
first digit of its status, until it is killed.
"""

import asyncio
import sys


async def ask_forever(port, address, request):
    while True:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port,
                                                           local_addr=(address, 0))
            while True:
                writer.write(request)
                head = await reader.readuntil(b"\r\n\r\n")
                length = head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0]
                await reader.readexactly(int(length))
                sys.stdout.write(chr(head[9]))
                sys.stdout.flush()
        except (OSError, asyncio.IncompleteReadError):
            await asyncio.sleep(0.05)


async def flood(port, address, connections, body, headers):
    lines = ["POST /execute HTTP/1.1", "Host: localhost", "Content-Type: application/json",
             f"Content-Length: {len(body)}", *headers]
    request = ("\r\n".join(lines) + "\r\n\r\n" + body).encode()
    await asyncio.gather(*(ask_forever(port, address, request) for _ in range(connections)))


if __name__ == "__main__":
    asyncio.run(flood(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4], sys.argv[5:]))
