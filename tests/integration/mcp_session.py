"""Run by the interpreter that has the protocol's own client library (tests/requirements.txt): connects
to a server, makes the calls that standard input has as a JSON array of arguments, and prints what
came of it as JSON. Arguments: URL, mode ("auto", "legacy" or a revision).
"""

import asyncio
import json
import sys

from mcp import Client
from mcp.shared.exceptions import MCPError


async def call(client, tool, arguments):
    try:
        return (await client.call_tool(tool, arguments)).model_dump(mode="json", by_alias=True)
    except MCPError as error:
        return {"code": error.error.code, "message": error.error.message}


async def main(url, mode):
    calls = json.load(sys.stdin)
    async with Client(url, mode=mode) as client:
        tools = await client.list_tools()
        print(json.dumps({
            "version": client.protocol_version,
            "server": client.server_info and client.server_info.name,
            "instructions": client.instructions,
            "tools": [tool.model_dump(mode="json", by_alias=True, exclude_none=True)
                      for tool in tools.tools],
            "calls": [await call(client, *each) for each in calls],
        }))


asyncio.run(main(*sys.argv[1:]))
