"""The shortcuts for REST framework's conversions, and for Django's timestamps, change no value."""

import datetime
from zoneinfo import ZoneInfo

import pytest
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st
from rest_framework import serializers

from cachelayer.representation import conversions
from cachelayer.representation.timestamps import loaded_fast

ZONES = [datetime.UTC, ZoneInfo("UTC"), ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Kathmandu")]
MOMENTS = st.datetimes(timezones=st.sampled_from(ZONES)) | st.datetimes()


def shortcut_of(field):
    """The shortcut; fails if there is none."""
    convert = conversions.of(field)
    assert convert != field.to_representation
    return convert


def outcome(convert, value):
    try:
        return convert(value)
    except Exception as error:
        return type(error)


@pytest.mark.parametrize("zone", ZONES)
@given(MOMENTS)
def test_a_moment(zone, moment):
    field = serializers.DateTimeField(default_timezone=zone)
    convert = shortcut_of(field)
    for value in (moment, moment.replace(tzinfo=datetime.UTC), "", "2024-01-01"):
        assert outcome(convert, value) == outcome(field.to_representation, value)


def test_a_moment_at_the_end_of_time():
    field = serializers.DateTimeField(default_timezone=ZoneInfo("Asia/Kathmandu"))
    last = datetime.datetime.max.replace(tzinfo=datetime.UTC)
    assert outcome(shortcut_of(field), last) is serializers.ValidationError


@given(st.uuids() | st.text() | st.integers())
def test_text(value):
    for field in (serializers.CharField(), serializers.EmailField(), serializers.UUIDField()):
        assert shortcut_of(field)(value) == field.to_representation(value)


@given(st.integers() | st.booleans() | st.floats(allow_nan=False) | st.just("7"))
def test_numbers(value):
    for field in (serializers.IntegerField(), serializers.FloatField()):
        convert = shortcut_of(field)
        assert outcome(convert, value) == outcome(field.to_representation, value)


class OwnText(serializers.CharField):
    def to_representation(self, value):
        return f"own {value}"


class OwnZone(serializers.DateTimeField):
    def enforce_timezone(self, value):
        return value.replace(tzinfo=None)


@pytest.mark.parametrize(
    "field",
    [
        OwnText(),
        OwnZone(default_timezone=datetime.UTC),
        serializers.DateTimeField(default_timezone=datetime.UTC, format="%Y"),
        serializers.DateTimeField(default_timezone=datetime.UTC, format=None),
        serializers.DateTimeField(),
        serializers.UUIDField(format="hex"),
    ],
)
def test_there_is_no_shortcut_for(field):
    assert conversions.of(field) == field.to_representation


MORE = [
    "2024-02-29 23:59:59.999999+00",
    "0001-06-01 00:00:00+00",
    "2024-10-27 00:30:00+00",
    "2024-10-27 01:30:00+00",
    "1850-06-01 12:00:00.1+00",
]


def loaded(texts):
    with connection.cursor() as cursor:
        cursor.execute("SELECT unnest(%s::timestamptz[])", [texts])
        return [(moment, moment.tzinfo, moment.fold) for (moment,) in cursor.fetchall()]


@pytest.mark.django_db
@pytest.mark.parametrize("zone", ["UTC", "Europe/London", "Asia/Kathmandu"])
@pytest.mark.parametrize("uses_zones", [True, False])
def test_timestamps_are_loaded_alike(zone, uses_zones, settings):
    settings.USE_TZ = uses_zones
    settings.TIME_ZONE = zone
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('TimeZone', %s, true)", [zone])
    expected = loaded(MORE)
    with loaded_fast(connection.alias):
        assert loaded(MORE) == expected
    assert loaded(MORE) == expected


@pytest.mark.django_db
@pytest.mark.parametrize("text", ["infinity", "0044-03-15 12:00:00+00 BC", "12024-01-01 00:00+00"])
def test_what_is_no_datetime_gives_the_same_error(text):
    def load(text):
        return loaded([text])

    expected = outcome(load, text)
    with loaded_fast(connection.alias):
        assert outcome(load, text) == expected


@pytest.mark.django_db
def test_the_shorter_way_is_taken_inside_only():
    def loader():
        adapters = connection.connection.adapters
        return adapters.get_loader(adapters.types["timestamptz"].oid, 0)

    connection.ensure_connection()
    before = loader()
    with loaded_fast(connection.alias):
        assert loader() is not before
    assert loader() is before
