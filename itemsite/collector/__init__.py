"""A small collector of traces for ``./lab``: takes OTLP/HTTP, answers as Jaeger does.

``python -m itemsite.collector PORT`` keeps the last traces in memory, with bounds, and
serves on 127.0.0.1:

    POST /v1/traces             OTLP/HTTP, protobuf, also gzipped
    GET  /api/services          Jaeger's JSON query API, the parts that are of use here
    GET  /api/traces?service=api&limit=20
    GET  /api/traces/<id>
    GET  /trace/<id>, GET /     the same for people, as text
"""
