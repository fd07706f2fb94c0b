"""What a run keeps beside its record: metrics, tags and properties, files.

    values    what may be logged, and how it is written      journal   appending to the metrics, reading them
    metrics   what was logged, in v1's shapes                marks     tags, properties, a failure that a script told
    files     the run's files, and what a script left in `outputs/` and `logs/`

Each part works on the folder of one run, and is used by many processes at once: the script's own, its ranks and workers,
whoever watches from outside, and the launcher. The record itself (`run.json`) is the launcher's alone.
"""
