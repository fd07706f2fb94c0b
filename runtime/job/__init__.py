"""The life of a job: a spec becomes a layout, a session, a child under its keeper, outputs in the store.

spec         what a job is asked to be: a value; nothing was contacted
layout       where everything lies, and the child's argv and environment; pure, printable
session      the inputs, mounted or downloaded, and taken down again
keeper       stands between launcher and child and ends every descendant
child        the launcher's end of the keeper; `relay` carries what the child prints
finish       outputs to the store and the catalog; also what `moorage runs resume` does
first        process 1 of a container, before the launcher: forwards signals, reaps
launcher     puts all of it together, in one process
lineage      what the catalog is told of a run
runs         the records that a job leaves; `leftovers` cleans up behind launchers that died
processes    what /proc knows, and how to end a process and all that it made
"""
