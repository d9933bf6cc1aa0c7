"""Tables of patients that are none."""

HOSTILE = {
    "a huge field": b"case,subject\n1," + b"A" * 200_000 + b"\n",
    "an open quote": b'case,subject\n1,"' + b"A,\n" * 100_000,
    "UTF-16": "case,subject\n1,A\n".encode("utf-16"),
    "Latin-1": "case,subject\n1,Müller\n".encode("latin-1"),
    "binary": bytes(range(256)) * 10,
    "a number of 5000 digits": b"case,subject\ncase_" + b"9" * 5000 + b",A\n" + b"9" * 5000 + b",A\n",
    "no end of columns": b"case,patient" + b",x" * 50_000 + b"\n1,A\n",
    "a line of nothing": b"case,subject\n\n\n,\n",
    "a header alone": b"case,subject\n",
}
"""By what is wrong with them."""
