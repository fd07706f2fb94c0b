"""Pipelines: jobs that take each other's outputs, in order, on this machine.

plan        what is run: steps with their jobs, what feeds what, what waits for what; values, and the order in them
feeding     what a step left in the store, as the input of another
conductor   the process that runs a plan: a launcher for each step, some at once
"""
