"""Labels in and out: what people said of images and texts, from one file format into another.

    values      Task, Item and the kinds of labels         geometry   numbers into boxes and polygons, checked
    masks       runs of pixels: polygons in, polygons out  places     the ways in which a file is named
    json_lines, coco, coco_writing, csv_files, conll, label_studio   one format each
    reading     what holds for every format: duplicates, unknown classes, bad items
    rows        a labelled dataset's, of its frozen file            bringing   their images onto this machine
    converting  a reader into a writer                     checking   what is wrong in a file, and how its classes weigh

Every reader and writer takes one item at a time; what must be joined or put last lies in a scratch file, so that memory
does not grow with the number of items (but for eight bytes' hash of each name, which is how a duplicate is found).
"""
