"""Run by the interpreter that has the protocol's own client library: makes a call that takes long,
and gives it up. Arguments: URL, mode.
"""

import asyncio
import sys

from mcp import Client
from mcp.shared.exceptions import MCPError


async def main(url, mode):
    async with Client(url, mode=mode) as client:
        try:
            await client.call_tool("run_python", {"script": "import time\ntime.sleep(30)"},
                                   read_timeout_seconds=1)
        except (MCPError, TimeoutError):
            print("timed out")
        await asyncio.sleep(0.5)  # what is sent behind


asyncio.run(main(*sys.argv[1:]))
