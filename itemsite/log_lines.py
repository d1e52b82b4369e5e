"""Log lines that say which trace they belong to."""

import logging

from opentelemetry import trace


class TraceIds(logging.Filter):
    """Gives every record ``trace_id`` and ``span_id``; ``-`` where there is no trace."""

    def filter(self, record: logging.LogRecord) -> bool:
        context = trace.get_current_span().get_span_context()
        record.trace_id = record.span_id = "-"
        if context.is_valid:
            record.trace_id = trace.format_trace_id(context.trace_id)
            record.span_id = trace.format_span_id(context.span_id)
        return True
