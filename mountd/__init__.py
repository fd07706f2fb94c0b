"""The data plane: the bytes of a frozen dataset at a path. It knows nothing of jobs.

The layers, from what a user calls down to plain values (import-linter checks the arrows, see pyproject.toml):

    cli          the commands `mountd` and `mount.moorage`
    daemon       the worker: composes everything below into one mounted process
    helper       the worker without a device: reads, lists, uploads for other processes
    client/      for callers: start a mount or a helper, ask it, stop it
    download     the same bytes without FUSE
    freeze       a listing becomes a manifest
    composing    what reading is composed of
    config       one table of settings -> flags, environment, TOML
    fuse/        speaks the kernel's protocol; vfs.py is the file system in Python terms
    reading/     flights, windows, plans, warming        uploading/  files to a store, verified
    cache/       extents on disk and in memory
    stores/      where bytes come from                   dataset/    manifest, extents: pure values
    metrics, notify, log, units, errors
"""
