import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tag2mask.data.classes import ClassPrompts
from tag2mask.data.classes.endpoint import Endpoint, ask_words, parse_words
from tag2mask.errors import Tag2MaskError

KEY = "sk-secret-4711"
TRAIN = ClassPrompts("train", ("steam train", "tram"), ())
CLASSES = (TRAIN, ClassPrompts("boat", ("boat",), ()))


def completion(text):
    return json.dumps({"choices": [{"message": {"content": text}}]}).encode()


class Fake(ThreadingHTTPServer):
    """A chat model that answers as it is told and remembers what it was asked."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answering)
        self.status, self.body, self.headers = 200, completion("Rails"), {}
        self.seconds_between_bytes = 0.0
        self.asked = []
        self.is_over = threading.Event()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/v1"


class Answering(BaseHTTPRequestHandler):
    def do_POST(self):
        length = int(self.headers["Content-Length"])
        self.server.asked.append(
            (self.path, dict(self.headers), json.loads(self.rfile.read(length)))
        )
        self.send_response(self.server.status)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if not self.server.seconds_between_bytes:
            self.wfile.write(self.server.body)
            return
        for place in range(len(self.server.body)):
            if self.server.is_over.wait(self.server.seconds_between_bytes):
                return
            self.wfile.write(self.server.body[place : place + 1])
            self.wfile.flush()

    def do_GET(self):
        self.server.asked.append((self.path, dict(self.headers), None))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        """Say nothing."""

    def handle(self):
        try:
            super().handle()
        except ConnectionError:
            """The client has had enough."""


@pytest.fixture
def start_fake(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    running = []

    def start():
        server = Fake()
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        running.append((server, thread))
        return server

    yield start
    for server, thread in running:
        server.is_over.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def fake(start_fake):
    return start_fake()


def ask(fake, *, num_words=5, api_key=KEY, timeout=5.0):
    endpoint = Endpoint(f"{fake.url}/", "small", api_key, timeout)
    return ask_words(endpoint, TRAIN, CLASSES, num_words=num_words)


def message_of(fake, **knobs):
    """What a user reads; it always names address and class and never the key."""
    with pytest.raises(Tag2MaskError) as caught:
        ask(fake, **knobs)
    message = str(caught.value)
    start = f"{fake.url}/chat/completions gives no background words for 'train': "
    assert message.startswith(start)
    assert KEY not in message
    assert caught.value.__cause__ is None
    assert len(message) < 500
    return message.removeprefix(start)


def test_words_are_asked_for_and_taken_from_the_reply(fake):
    fake.body = completion("1. Rails\n2. Platform\n3. Train station\n4. rails\n5. Sky")
    assert ask(fake) == ("rails", "platform", "sky")
    ((path, headers, body),) = fake.asked
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert headers["Content-Type"] == "application/json"
    assert body["model"] == "small"
    ((role, question),) = [tuple(each.values()) for each in body["messages"]]
    assert role == "user"
    assert question.startswith(
        "List 5 English words of backgrounds that may co-occur with 'steam train'"
    )


def test_number_of_words_is_alive(fake):
    fake.body = completion("rails, platform, sky")
    assert ask(fake, num_words=2) == ("rails", "platform")
    assert fake.asked[0][2]["messages"][0]["content"].startswith("List 2 English")
    with pytest.raises(ValueError, match="num_words must be at least 1, got 0"):
        ask(fake, num_words=0)


@pytest.mark.parametrize("api_key", [None, ""])
def test_without_a_key_none_is_sent(fake, api_key):
    assert ask(fake, api_key=api_key) == ("rails",)
    assert "Authorization" not in fake.asked[0][1]


@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_key(fake, status):
    fake.status, fake.body = status, f"no such key: {KEY}".encode()
    assert message_of(fake) == f"HTTP {status}; check the API key"


def test_an_error_of_the_server_is_quoted_in_short_and_without_the_key(fake):
    fake.status = 500
    fake.body = f"\x1b[2Jno\nmodel for {KEY} {'x' * 150}{KEY}{'y' * 5000}".encode()
    message = message_of(fake)
    assert message.startswith("HTTP 500 Internal Server Error [2Jno model for … xxx")
    assert message.endswith("…; check the address and the model, or try again later")
    assert "sk-" not in message


def test_a_key_that_is_cut_off_is_not_shown_either(fake):
    for before in range(140, 200, 3):
        fake.body = f"{'x' * before}{KEY}{'y' * 100}".encode()
        assert "sk-" not in message_of(fake)


@pytest.mark.parametrize("seconds", [0.05, 60.0], ids=["dripping", "silent"])
def test_a_slow_server_is_given_up(fake, seconds):
    fake.seconds_between_bytes = seconds
    start = time.monotonic()
    assert message_of(fake, timeout=0.3).startswith("no answer within 0.3 s; give it m")
    assert time.monotonic() - start < 5


def test_a_server_that_is_not_there(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    endpoint = Endpoint(f"http://127.0.0.1:{port}", "small", KEY)
    with pytest.raises(Tag2MaskError, match="refused; check the address and that the"):
        ask_words(endpoint, TRAIN, CLASSES, num_words=5)


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        (b"<html>hello</html>", "'<html>hello</html>'"),
        (b"", "''"),
        (b"\xff\xfe", "'��'"),
        (b"[" * 100_000, f"'{'[' * 200}…'"),
        (b'{"choices": []}', "'{\"choices\": []}'"),
        (b'{"choices": [{"message": {"content": null}}]}', None),
        (b"3", "'3'"),
    ],
)
def test_what_is_no_completion(fake, body, shown):
    fake.body = body
    message = message_of(fake)
    assert message.startswith("the reply is no chat completion but ")
    if shown:
        assert message.endswith(shown)


@pytest.mark.parametrize(
    "text", ["", "  \n", "Train, boats", "I cannot help you with that"]
)
def test_a_reply_without_a_usable_word(fake, text):
    fake.body = completion(text)
    shown = " ".join(text.split())
    assert message_of(fake) == f"there is no usable word in {shown!r}"


def test_a_huge_reply_is_not_read_to_its_end(fake):
    fake.body = b" " * (1 << 24)
    assert message_of(fake).startswith("the reply is longer than 1048576 bytes")


def test_a_reply_that_breaks_off(fake):
    fake.headers = {"Transfer-Encoding": "chunked"}
    fake.body = b"ff\r\nabc"
    message = message_of(fake)
    assert message.endswith("check the address and that the server runs")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_the_key_goes_to_no_other_host(start_fake, status):
    first, second = start_fake(), start_fake()
    first.status, first.headers = status, {"Location": f"{second.url}/{KEY}"}
    message = message_of(first)
    assert message.startswith(f"HTTP {status}, it points to '{second.url}/…', where")
    assert second.asked == []


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000/v1",
        "file:///etc/passwd",
        "ftp://host/v1",
        "http://",
        "http://user:sk-secret@host/v1",
        "http://host/v1?key=sk-secret",
        "http://host/v1#a",
        "http://host:port/v1",
        "http://[host/v1",
        "http://host/a b",
        "http://host/a\r\nX: y",
    ],
)
def test_an_address_that_is_none_is_not_shown(url):
    with pytest.raises(Tag2MaskError, match="must be http:// or https://") as caught:
        Endpoint(url, "small")
    assert "sk-secret" not in str(caught.value)


def test_a_host_that_cannot_be_one(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    endpoint = Endpoint("http://a..b/v1", "small", KEY)
    with pytest.raises(Tag2MaskError, match="check the address") as caught:
        ask_words(endpoint, TRAIN, CLASSES, num_words=5)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("api_key", [f"{KEY}\n", f"{KEY}é", f"{KEY}\r\nX: y"])
def test_a_key_that_cannot_be_sent_is_not_shown(api_key):
    with pytest.raises(Tag2MaskError, match="API key holds a line break") as caught:
        Endpoint("http://host/v1", "small", api_key)
    assert KEY not in str(caught.value)


def test_a_key_is_in_no_representation():
    assert KEY not in repr(Endpoint("http://host/v1", "small", KEY))


def test_time_must_be_given():
    with pytest.raises(ValueError, match="timeout must be above 0 seconds, got 0"):
        Endpoint("http://host/v1", "small", None, 0.0)


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ("sky\nrunway\ncontrol tower", ["sky", "runway", "control tower"]),
        ("sky, Runway,control tower.", ["sky", "runway", "control tower"]),
        ("1. Sky\n2) Runway\n(3) Tower\n4: hill", ["sky", "runway", "tower", "hill"]),
        ("1. sky, 2. runway", ["sky", "runway"]),
        ("- sky\n* runway\n• **Tower**", ["sky", "runway", "tower"]),
        ('["sky", "runway"]', ["sky", "runway"]),
        ("Here are 2 words:\n\nsky\n\nrunway", ["sky", "runway"]),
        ("**Words:**\n```text\nsky\n```", ["sky"]),
        (
            "sky - what it flies in\nrunway (long)\n1. Hill: a hill",
            ["sky", "runway", "hill"],
        ),
        ("<think>\ngrass, trees\n</think>\nsky", ["sky"]),
        ("half-pipe\nbatter's box", ["half-pipe", "batter's box"]),
        ("These are all the words that I know.\nsky", ["sky"]),
        ("ciel é\n天空\n42\nsky", ["sky"]),
        ("", []),
    ],
)
def test_lists_as_models_write_them(reply, words):
    assert list(parse_words(reply)) == words
