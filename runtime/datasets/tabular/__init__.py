"""Tabular datasets: rows out of files, lazily, as Arrow record batches.

    definition   what a user said, as a small document        kinds        what a column holds
    files        a frozen dataset's files, opened             chunks       their bytes in order, fetched ahead
    delimited    rows of delimited text                       inference    column types out of the first rows
    parsing      a block of whole records into columns        converting   text into values, one by one where it must be
    dates        text into timestamps                         violations   what could not be read, counted
    parquet, json_lines, query   rows of the other sources
    evaluating   a definition and its files into batches      steps        what is done to them on the way

pyarrow is met in this room only, and is imported when rows are asked for.
"""
