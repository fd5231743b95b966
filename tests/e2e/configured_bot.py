"""A bot that is configured by a file alone. It answers by repeating, and serves what it was given at a port."""

import http.server
import json
import sys
import threading
import time
import urllib.parse
import urllib.request
from pathlib import Path

CONFIG = json.loads(Path(sys.argv[1]).read_text())


def call(method, path, body=None, token=CONFIG["token"]):
    """Return the answer of the homeserver."""
    request = urllib.request.Request(
        f"{CONFIG['homeserver']}/_matrix/client/v3{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {token}"},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


class Page(http.server.BaseHTTPRequestHandler):
    """The page at the port of the configuration."""

    def do_GET(self):
        """Answer every request."""
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"ok")


http.server.HTTPServer.allow_reuse_address = True
web = http.server.HTTPServer(("127.0.0.1", CONFIG["port"]), Page)
threading.Thread(target=web.serve_forever, daemon=True).start()
me, admin = call("GET", "/account/whoami"), call("GET", "/account/whoami", token=CONFIG.get("admin", CONFIG["token"]))
print(json.dumps({"event": "started", "me": me, "admin": admin["user_id"], "port": CONFIG["port"]}), flush=True)

since = ""
while True:
    sync = call("GET", f"/sync?timeout=10000{since}")
    for room in sync.get("rooms", {}).get("invite", {}):
        call("POST", f"/rooms/{urllib.parse.quote(room)}/join", {})
    for room, joined in sync.get("rooms", {}).get("join", {}).items():
        for event in joined["timeline"]["events"]:
            text = event["content"].get("body", "")
            if since and event["type"] == "m.room.message" and event["sender"] != me["user_id"]:
                where = f"/rooms/{urllib.parse.quote(room)}/send/m.room.message/{time.time_ns()}"
                call("PUT", where, {"msgtype": "m.text", "body": f"you said: {text}"})
    since = f"&since={sync['next_batch']}"
