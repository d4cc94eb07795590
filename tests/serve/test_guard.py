"""Who is let in, and what one caller may cost."""

import asyncio
import base64
import threading

import pytest
from starlette.exceptions import HTTPException

from tag2mask.serve.limits import Admission, LimitedBody, Limits

TOKEN = "s3cret"  # not used anywhere


@pytest.fixture(scope="module")
def locked(open_tiny, client_of):
    with client_of(open_tiny(), token=TOKEN) as found:
        yield found


@pytest.mark.parametrize(
    "path",
    [
        "/model",
        "/about",
        "/openapi.json",
        "/review",
        "/label-studio/health",
        "/nowhere",
    ],
)
@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer wrong", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN],
)  # fmt: skip
def test_strangers_are_told_nothing(locked, path, header):
    headers = {} if header is None else {"Authorization": header}
    answer = locked.get(path, headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


def test_who_names_the_token_is_let_in(locked, photo):
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert locked.get("/model", headers=headers).status_code == 200
    assert locked.post("/predict", content=photo, headers=headers).status_code == 200
    assert locked.post("/predict", content=photo).status_code == 401


@pytest.mark.parametrize("path", ["/", "/healthz", "/page/main.js"])
def test_what_tells_nothing_is_open(locked, path):
    assert locked.get(path).status_code == 200
    assert locked.post(path).status_code == 401


def test_label_studio_names_the_token_as_a_password(locked):
    def basic(password):
        pair = base64.b64encode(f"any:{password}".encode()).decode()
        return {"Authorization": f"Basic {pair}"}

    health = "/label-studio/health"
    assert locked.get(health, headers=basic(TOKEN)).status_code == 200
    assert locked.get(health, headers=basic("wrong")).status_code == 401
    assert locked.get("/model", headers=basic(TOKEN)).status_code == 401
    broken = {"Authorization": "Basic !"}
    assert locked.get(health, headers=broken).status_code == 401


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8000", 200),
        ("localhost", 200),
        ("LOCALHOST:1", 200),
        ("[::1]:8000", 200),
        ("evil.example", 421),
        ("localhost.evil.example", 421),
        ("evil.example@localhost", 421),
        ("[", 421),
        ("", 421),
    ],
)
def test_a_local_server_answers_to_local_names_only(open_tiny, client_of, host, status):
    hosts = frozenset({"localhost", "127.0.0.1", "::1"})
    with client_of(open_tiny(), hosts=hosts) as client:
        assert client.get("/healthz", headers={"Host": host}).status_code == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, 200),
        ("http://127.0.0.1:8000", 200),
        ("http://evil.example", 403),
        ("http://127.0.0.1:9000", 403),
        ("null", 403),
    ],
)
def test_pages_of_other_sites_cannot_post(client, photo, origin, status):
    headers = {} if origin is None else {"Origin": origin}
    answer = client.post("/predict", content=photo, headers=headers)
    assert answer.status_code == status


@pytest.mark.parametrize(
    "path", ["/", "/healthz", "/nowhere", "/model", "/page/rle.js"]
)
def test_every_answer_has_the_headers(client, path):
    headers = client.get(path).headers
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'")
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"


def test_too_many_bytes_are_refused_announced_or_not(open_tiny, client_of, photo):
    with client_of(open_tiny(upload_bytes=len(photo))) as client:
        assert client.post("/predict", content=photo).status_code == 200
        refused = client.post("/predict", content=photo + b"x")
        assert refused.status_code == 413
        assert f"more than {len(photo)} bytes" in refused.json()["detail"]
        pieces = iter([photo, b"x"])  # sent without a length
        assert client.post("/predict", content=pieces).status_code == 413
        form = {"image": ("a.png", photo)}
        assert client.post("/predict", files=form).status_code == 413


def test_a_body_that_drips_is_given_up():
    async def drip():
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b"x", "more_body": True}

    async def read():
        body = LimitedBody(drip, Limits(body_seconds=0.1))
        while True:
            await body()

    with pytest.raises(HTTPException, match=r"not whole within 0\.1 s") as caught:
        asyncio.run(read())
    assert caught.value.status_code == 408


def test_after_the_body_the_end_is_waited_for_without_haste():
    async def receive():
        calls.append(1)
        if len(calls) > 1:
            await asyncio.sleep(0.1)
        return {"type": "http.request", "body": b""}

    async def read():
        body = LimitedBody(receive, Limits(body_seconds=0.05))
        for _ in range(2):
            await body()

    calls = []
    asyncio.run(read())
    assert len(calls) == 2


def test_places_are_given_back():
    admission = Admission(2)
    with admission.place(retry_after=1), admission.place(retry_after=1):
        with pytest.raises(HTTPException) as caught, admission.place(retry_after=7):
            pass
        assert caught.value.status_code == 429
        assert caught.value.headers["Retry-After"] == "7"
    with pytest.raises(KeyError), admission.place(retry_after=1):
        raise KeyError
    assert admission.taken == 0


def test_while_the_model_is_busy_health_answers_and_the_queue_is_bounded(
    open_tiny, client_of, photo, monkeypatch
):
    go_on, begun = threading.Event(), threading.Event()
    service = open_tiny(queue=2)
    predict = type(service.model).predict

    def slow(self, questions):
        begun.set()
        assert go_on.wait(20)
        return predict(self, questions)

    monkeypatch.setattr(type(service.model), "predict", slow)
    with client_of(service) as client:
        statuses = []

        def ask():
            statuses.append(client.post("/predict", content=photo).status_code)

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        assert begun.wait(20)
        while client.get("/healthz").json()["under_way"] < 2:
            pass
        refused = client.post("/predict", content=photo)
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "1"
        go_on.set()
        for thread in threads:
            thread.join()
        assert statuses == [200, 200]
        assert client.get("/healthz").json()["under_way"] == 0


def test_a_length_of_strange_digits_is_no_crash(client):
    answer = client.get("/healthz", headers=[(b"content-length", b"\xb2")])
    assert answer.status_code == 200


def test_a_password_that_is_no_ascii_is_a_wrong_one(locked):
    headers = [(b"authorization", b"Basic \xe9")]
    assert locked.get("/label-studio/health", headers=headers).status_code == 401


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/label-studio/predict", b'{"tasks": NaN, "label_config": "\\ud800"}'),
        ("/label-studio/setup", b'{"project": ["\\ud800", Infinity]}'),
        ("/review/marks", b'{"\\ud800": 1, "image": NaN}'),
    ],
)
def test_what_is_wrong_with_a_body_is_not_repeated(client, path, body):
    headers = {"content-type": "application/json"}
    answer = client.post(path, content=body, headers=headers)
    assert answer.status_code == 422
    assert {key for each in answer.json()["detail"] for key in each} == {
        "type",
        "loc",
        "msg",
    }
