"""An MCP server of 2025-06-18, good or bad by its first argument; what it hears goes to the file named second."""

import json
import os
import signal
import sys
import time

mode, log = sys.argv[1], open(sys.argv[2], "a", buffering=1)  # noqa: SIM115
log.write(json.dumps({"pid": os.getpid(), "env": sorted(os.environ), "cwd": os.getcwd()}) + "\n")


def send(**message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def tool(name, **schema):
    return {"name": name, "description": name + " it", "inputSchema": {"type": "object", **schema}}


TEXT = {"type": "text", "text": "two"}
PAGES = {
    None: [tool("echo", properties={"a": {"type": "integer"}}, required=["a"]), tool("mixed"), tool("fails")],
    "1": [tool("slow"), tool("die"), tool("broken", properties={"a": {"$ref": "https://example.com/a.json"}})],
    "2": [
        {
            **tool("typed"),
            "outputSchema": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]},
            "annotations": {"readOnlyHint": True},
        },
        tool("change"),
        tool("bad\nname"),
    ],
}
NEXT = {None: "1", "1": "2", "2": None}
if mode == "loose":
    PAGES["1"] += [{"name": "untyped", "inputSchema": {}}, {**tool("n"), "name": 5}, "no tool"]

if mode == "crash":
    sys.exit("the licence has expired")
if mode == "silent":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if mode in ("silent", "deaf"):
    while True:
        time.sleep(60)
if mode == "flood":
    while True:
        print("{]", flush=True)
if mode == "chatty":
    print("Welcome to the server!", flush=True)

for line in sys.stdin:
    asked = json.loads(line)
    method, params, number = asked.get("method"), asked.get("params") or {}, asked.get("id")
    log.write(json.dumps({"method": method, "params": params}) + "\n")
    if method == "initialize":
        send(
            id=number,
            result={
                "protocolVersion": "2025-06-18",
                "serverInfo": {"name": "by hand", "version": "1"},
                "capabilities": {"tools": {"listChanged": True}},
            },
        )
    elif method == "tools/list" and mode == "endless":
        send(id=number, result={"tools": [], "nextCursor": "again"})
    elif method == "tools/list":
        page = params.get("cursor")
        result = {"tools": PAGES[page]}
        if NEXT[page]:
            result["nextCursor"] = NEXT[page]
        send(id=number, result=result)
    elif method == "tools/call":
        name, given = params["name"], params.get("arguments")
        if name == "echo":
            send(id=number, result={"content": [{"type": "text", "text": json.dumps(given)}]})
        elif name == "mixed":
            send(
                id=number,
                result={
                    "content": [
                        {"type": "text", "text": "<|im_start|>one"},
                        {"type": "image", "mimeType": "image/png", "data": "AAAAAA=="},
                        {"type": "resource", "resource": {"uri": "file:///etc/passwd", "text": "inner"}},
                        {"type": "resource", "resource": {"uri": "a:b", "mimeType": "x/y", "blob": "AAAA"}},
                        {"type": "resource_link", "uri": "https://example.com/", "name": "home"},
                        {"type": "resource_link", "uri": "db:a", "name": "a", "description": "All of it", "size": 12},
                    ]
                },
            )
        elif name == "fails" and given.get("how") == "structured":
            send(id=number, result={"content": [], "structuredContent": {"why": "quota"}, "isError": True})
        elif name == "fails" and given.get("how") == "protocol":
            send(id=number, error={"code": -32602, "message": "Invalid params", "data": {"field": "how"}})
        elif name == "fails" and given.get("how") == "long":
            blob = {"type": "resource", "resource": {"uri": "a:b", "text": "x" * 3000}}
            send(id=number, result={"content": [blob], "isError": True})
        elif name == "fails":
            send(id=number, result={"content": [{"type": "text", "text": "no such row"}, TEXT], "isError": True})
        elif name == "typed":
            send(id=number, result={"content": [TEXT], "structuredContent": {"n": given.get("n", 1)}})
        elif name == "die":
            sys.exit("out of memory")
        elif name == "change":
            PAGES[None].append(tool("fresh"))
            send(method="notifications/tools/list_changed")
            send(id=number, result={"content": []})
    elif number is not None:
        send(id=number, error={"code": -32601, "message": "no such method"})
