"""Receives webhooks, verifies their signatures with OpenAI's library, and prints one JSON line for each delivery.

The first line names the address: {"listening": "http://127.0.0.1:PORT/"}. A real receiver remembers the webhook-id, because a delivery
may come twice; this one only prints it.
"""

import argparse
import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from openai import InvalidWebhookSignatureError, OpenAI

BODY_BYTES_MAX = 64 * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=9000, help="0 takes a free one")
    parser.add_argument("--secret", default=os.environ.get("MILLRACE_WEBHOOK_SECRET"), help="whsec_…; default: MILLRACE_WEBHOOK_SECRET")
    parser.add_argument("--fail-first", type=int, default=0, metavar="N", help="answer the first N deliveries with 503")
    options = parser.parse_args()
    if not options.secret:
        parser.error("a secret is needed: --secret or MILLRACE_WEBHOOK_SECRET")

    server = ThreadingHTTPServer(("127.0.0.1", options.port), Receiver)
    server.secret = options.secret
    server.failures_left = options.fail_first
    # No call is ever made with this client: verifying is local.
    server.client = OpenAI(api_key="none")
    say({"listening": f"http://127.0.0.1:{server.server_port}/"})
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


class Receiver(BaseHTTPRequestHandler):
    # A sender that stalls is dropped.
    timeout = 20

    def do_POST(self) -> None:
        length = int(self.headers.get("content-length", 0))
        if length > BODY_BYTES_MAX:
            self.answer(413)
            return
        body = self.rfile.read(length)
        seen = {"webhook_id": self.headers.get("webhook-id")}
        try:
            event = self.server.client.webhooks.unwrap(body, self.headers, secret=self.server.secret)
        except (InvalidWebhookSignatureError, ValueError) as error:
            self.answer(400)
            say(seen | {"answered": 400, "error": str(error)})
            return
        status = 204
        if self.server.failures_left > 0:
            self.server.failures_left -= 1
            status = 503
        # Printed before the answer: whoever reads our lines never learns of a delivery later than the sender does.
        say(seen | {"answered": status, "event_id": event.id, "type": event.type, "data_id": event.data.id})
        self.answer(status)

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """The JSON lines are the log."""


def say(line: dict) -> None:
    print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
