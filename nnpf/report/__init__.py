"""One HTML file that shows what filters did to a stream: `nnpf report`.

`documents` reads what `nnpf apply`, `eval` and `adapt` have written, `stream` the bitstream itself, `views` takes the
pictures to look at; `page` makes one file of all that, with the drawings of `charts`. Nothing in the file refers to
anything outside of it.
"""
