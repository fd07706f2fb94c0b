"""From a read to spans, fetches and read-ahead."""
