"""What is not a good request is refused with a sentence; nothing is stored or cached."""

import uuid

import pytest
from django.core.signing import Signer
from django_redis.exceptions import ConnectionInterrupted
from rest_framework.throttling import ScopedRateThrottle

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.usefixtures("nothing_is_written"),
]

BAD_BODIES = {
    "empty": b"",
    "blank": b" \n",
    "cut off": b'{"name": "Tea", "price": 1',
    "two": b'{"name": "Tea", "price": 1}{}',
    "single quotes": b"{'name': 'Tea', 'price': 1}",
    "byte order mark": b'\xef\xbb\xbf{"name": "Tea", "price": 1}',
    "not UTF-8": b'{"name": "Th\xe9", "price": 1}',
    "UTF-16": '{"name": "Tea", "price": 1}'.encode("utf-16"),
    "control character in a string": b'{"name": "T\nea", "price": 1}',
    "raw NUL": b'{"name": "T\x00ea", "price": 1}',
    "NaN": b'{"name": "Tea", "price": NaN}',
    "Infinity": b'{"name": "Tea", "price": Infinity}',
    "-Infinity": b'{"name": "Tea", "price": -Infinity}',
    "NaN in a field that is ignored": b'{"name": "Tea", "price": 1, "colour": NaN}',
    "deep list": b"[" * 100_000,
    "deep object": b'{"a":' * 100_000,
    "list": b'[{"name": "Tea", "price": 1}]',
    "string": b'"Tea"',
    "number": b"1",
    "null": b"null",
    "true": b"true",
}

BAD_FIELDS = {
    "name": {
        "null": b"null",
        "empty": b'""',
        "blank": b'" \\t\\n"',
        "number": b"5",
        "decimal": b"5.5",
        "bool": b"true",
        "list": b'["Tea"]',
        "object": b'{"en": "Tea"}',
        "too long": b'"%s"' % (b"x" * 201),
        "NUL": b'"T\\u0000ea"',
        "lone surrogate": b'"T\\ud800ea"',
        "lone low surrogate": b'"T\\udc00ea"',
    },
    "description": {
        "null": b"null",
        "number": b"5",
        "bool": b"false",
        "list": b"[]",
        "too long": b'"%s"' % (b"x" * 10_001),
        "NUL": b'"T\\u0000ea"',
        "lone surrogate": b'"\\udfff"',
    },
    "price": {
        "null": b"null",
        "string": b'"4.50"',
        "empty string": b'""',
        "bool": b"true",
        "list": b"[4.5]",
        "object": b"{}",
        "negative": b"-0.01",
        "three decimals": b"4.505",
        "three decimals, one of them too small for a float": b"4.5000000000000000000000001",
        "1e400": b"1e400",
        "-1e400": b"-1e400",
        "1e-400": b"1e-400",
        "exponent beyond Decimal": b"1e99999999999999999999",
        "too large": b"100000000",
        "eleven digits": b"999999999.99",
        "a million digits": b"1" * 1_000_000,
    },
}

FIELD_CASES = [
    pytest.param(field, value, id=f"{field}: {name}")
    for field, values in BAD_FIELDS.items()
    for name, value in values.items()
]
GOOD = {"name": b'"Tea"', "description": b'""', "price": b"1"}


def is_sentence(text):
    return text[0].isalpha() and text.endswith(".") and " " in text


@pytest.mark.parametrize("body", BAD_BODIES.values(), ids=BAD_BODIES)
def test_a_body_that_is_no_json_object_is_refused(api, item, body):
    for answer in (api.post(body), api.put(item, body), api.patch(item, body)):
        assert answer.status_code == 400
        assert is_sentence(answer.json()["detail"])


@pytest.mark.parametrize(("field", "value"), FIELD_CASES)
def test_a_field_of_the_wrong_form_is_refused_by_name(api, item, field, value):
    fields = {**GOOD, field: value}
    body = b"{%s}" % b",".join(b'"%s":%s' % (name.encode(), fields[name]) for name in fields)
    one = b'{"%s":%s}' % (field.encode(), value)
    for answer in (api.post(body), api.put(item, body), api.patch(item, one)):
        assert answer.status_code == 400
        assert list(answer.json()) == ["detail", "errors"]
        (sentence,) = answer.json()["errors"].pop(field)
        assert answer.json()["detail"] == sentence
        assert sentence.startswith(field)
        assert is_sentence(sentence)
        assert len(sentence) < 200


def test_all_that_is_missing_is_named_at_once(api, item):
    for answer in (api.post({}), api.put(item, {})):
        assert answer.status_code == 400
        assert set(answer.json()["errors"]) == {"name", "price"}


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""]
)
def test_a_body_of_another_type_is_a_415_that_names_json(api, item, method, content_type):
    path = "/items" if method == "POST" else f"/items/{item.pk}"
    answer = api.send(method, path, b'{"name": "Tea", "price": 1}', content_type)
    assert answer.status_code == 415
    assert "application/json" in answer.json()["detail"]


@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded"])
def test_a_body_of_more_than_a_megabyte_is_a_413(api, item, content_type):
    body = b'{"name": "Tea", "price": 1, "padding": "%s"}' % (b"x" * 1024 * 1024)
    for answer in (api.post(body), api.put(item, body)):
        assert answer.status_code == 413
        assert is_sentence(answer.json()["detail"])


def test_a_body_without_a_length_is_a_411(api):
    answer = api.client.generic("POST", "/items", b"", HTTP_TRANSFER_ENCODING="chunked")
    assert answer.status_code == 411
    assert is_sentence(answer.json()["detail"])


@pytest.mark.parametrize("limit", ["0", "101", "-1", "1.0", "ten", "", "1e1", "²", "٣", "1" * 5000])
def test_a_bad_limit_is_refused(api, limit):
    answer = api.get("/items", query_params={"limit": limit})
    assert answer.status_code == 400
    assert answer.json() == {"detail": "limit must be a whole number from 1 to 100."}


@pytest.mark.parametrize(
    "cursor",
    ["", "x", "null", "é", "AAAA", "A" * 31, "A" * 33, "=" * 32, "+" * 32, "_" * 32, "A" * 5000,
     "_" * 40, "A" * 40, "A" * 39 + "=", "\x00" * 40],
)  # fmt: skip
def test_a_bad_cursor_is_refused(api, cursor):
    answer = api.get("/items", query_params={"cursor": cursor})
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("cursor is not one that this API gave.")


def test_a_cursor_that_was_changed_anywhere_is_refused(api):
    # The fixtures know of one item only, and a page of one has no cursor.
    text = Signer(salt="items.cursor").sign_object(["2026-01-02 03:04:05+00", str(uuid.uuid4())])
    assert api.get(f"/items?cursor={text}").status_code == 200
    for n, character in enumerate(text):
        changed = text[:n] + ("B" if character == "A" else "A") + text[n + 1 :]
        assert api.get(f"/items?cursor={changed}").status_code == 400


@pytest.fixture
def two_writes_an_hour(monkeypatch):
    monkeypatch.setattr(ScopedRateThrottle, "THROTTLE_RATES", {"write": "2/hour"})


@pytest.mark.usefixtures("two_writes_an_hour")
def test_a_write_too_many_is_a_429_and_reads_go_on(api, item):
    # Writes that fail count, too.
    assert [api.post({}).status_code for _ in range(3)] == [400, 400, 429]
    refused = api.patch(item, {"price": 1})
    assert refused.status_code == 429
    assert 0 < int(refused["Retry-After"]) <= 3600
    assert refused.json()["detail"] == (
        f"Too many writes. Wait {refused['Retry-After']} s, then go on."
    )
    assert api.get(f"/items/{item.pk}").status_code == 200
    assert api.get("/items").status_code == 200


@pytest.mark.usefixtures("two_writes_an_hour")
def test_without_redis_no_write_is_too_many(api, monkeypatch):
    def away(*args, **kwargs):
        raise ConnectionInterrupted(None)

    monkeypatch.setattr("django_redis.client.DefaultClient.get", away)
    monkeypatch.setattr("django_redis.client.DefaultClient.set", away)
    assert [api.post({}).status_code for _ in range(4)] == [400] * 4
