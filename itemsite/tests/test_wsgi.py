"""What gunicorn serves."""

from cachelayer.contrib.wsgi import FastHits
from itemsite.wsgi import application


def test_the_server_answers_hits_below_django():
    assert isinstance(application, FastHits)
