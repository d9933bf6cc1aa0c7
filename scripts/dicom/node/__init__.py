"""The node: receives studies from a PACS, has them processed, and sends the results back.

What it must not lose lies in one folder, and every change of it is one atomic rename:

    incoming/<study>/<instance>.dcm    CT instances, complete and on the disk before the sender is told so
    records/<study>.json               the state of the study's latest round, see `records`
    results/<study>-<round>/*.dcm      what is to be sent, complete before the record says so
    held/<study>                       of a study that is fetched only in part
    receiving/ work/ removed/          temporary; emptied at the start

`<study>` and `<instance>` are hashes of the UIDs. One process uses a folder at a time. Needs POSIX.
"""
