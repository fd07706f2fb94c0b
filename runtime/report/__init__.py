"""One run as one page of HTML that needs nothing else: no script, no style sheet, no network.

    page    the page: what of the run is told, in which order        plots   lines of numbers as SVG

Whatever comes from a run (names of metrics, tags, paths, errors) is somebody's text: it is escaped where it becomes HTML, in
one place, and the page forbids scripts besides.
"""
