"""The vocabulary of the job: PTransforms, the pure rules under them, and the seams.

The data's way, one module a step:

    read.py -> normalize.py -> partition.py -> render.py -> write.py -> commit.py

Pure rules (they import neither Beam nor the network): ``fields`` (which columns are the
instruction and the response), ``chat`` (which text), ``split`` (which split), ``layout`` (which
file name and which JSON), ``units`` (which piece of the source is which shard), ``records`` and
``errors``.  Seams: ``formats`` reads source files, ``storage`` says what an output must do:
``local_folder`` and ``s3_folder`` (with ``s3_claim``; ``s3`` makes the requests) do it.

Nothing here imports ``pipeline``, the application that composes these parts.
"""
