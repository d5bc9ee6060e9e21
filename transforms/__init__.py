"""The vocabulary of the job: PTransforms, the pure rules under them, and the seams.

The data's way, one module a step:

    quality/survey.py                            (a first pass: duplicates, validation prompts)
    read.py -> normalize.py -> quality/decontaminate.py -> partition.py -> render.py
        -> write.py, quality/find_leaks.py -> commit.py, report/

Pure rules (they import neither Beam nor the network):

    what is in a row    fields, chat_fields (which columns), mappings; roles, reasoning
    pairs               pairs (which rows make a question and an answer)
    conversations       turns (one form for all), conversation (which can be trained on), pair_turns
    which text          chat, built_in (the templates), rendering; concatenation (by Arrow),
                        jinja_rows (by Jinja, in a child: sandbox, sandbox_child), control_tokens
    which columns       shapes
    which split, files  split, layout, units, shards; records, errors
    which quality       quality (its own map), report (the page that tells it)

Seams: ``formats`` reads source files, ``storage`` says what an output must do:
``local_folder`` and ``s3_folder`` (with ``s3_claim``; ``s3`` makes the requests) do it.

Nothing here imports ``pipeline``, the application that composes these parts.
"""
