"""A service with an OpenAPI document as tools: a real HTTP server, here on this machine, with a key that it wants."""

import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from loraloop import Agent, Runtime
from loraloop.tool_schemas import NetworkPolicy, load_openapi

KEY = "k-7f3a9"
CELSIUS = {"Paris": 18, "London": 14, "Zürich": 11}
DOCUMENT = json.loads(Path(__file__).with_name("weather.openapi.json").read_text(encoding="utf-8"))


class Weather(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        url = urlsplit(self.path)
        city = unquote(url.path.removeprefix("/v1/weather/"))
        if url.path == "/openapi.json":
            self.answer(200, DOCUMENT)
        elif self.headers["X-Key"] != KEY:
            self.answer(401, {"error": "wrong key"})
        elif city not in CELSIUS:
            self.answer(404, {"error": f"no city is called {city!r}"})
        else:
            celsius, unit = CELSIUS[city], parse_qs(url.query).get("unit", ["celsius"])[0]
            degrees = celsius if unit == "celsius" else celsius * 9 / 5 + 32
            self.answer(200, {"city": city, "temperature": degrees, "unit": unit, "asked with": self.headers["X-Key"]})

    def answer(self, status: int, data: dict) -> None:
        body = json.dumps(data).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Weather)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    os.environ["WEATHER_KEY"] = KEY  # only its name is given; the value is read at each call and shown to nobody
    url = f"http://127.0.0.1:{server.server_port}/openapi.json"
    local = NetworkPolicy(networks=("loopback",))  # this machine is out of reach unless allowed
    with load_openapi(url, auth={"key": "WEATHER_KEY"}, policy=local, on_refused="skip") as service:
        print(service.report)
        agent = Agent(Runtime.load(), tools=service.tools)
        result = agent.run_sync("What is the weather in Paris in fahrenheit?")
        for step in result.steps:
            for call in step.calls:
                print(f"{call.name}({call.arguments}) -> {call.result or call.error}")
        print(f"the key is somewhere in the run: {KEY in repr(result)}")
        print(result.output)
    server.shutdown()


if __name__ == "__main__":
    main()
