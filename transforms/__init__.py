"""The vocabulary of the job: Beam steps, the pure rules under them, and the stores and formats.

The data's way, one module a step in ``steps``:

    scan (with confirm_exact, confirm_near)      a first pass: duplicates, validation prompts
    read -> normalize -> decontaminate -> partition -> render -> write -> commit
    find_leaks, measure                          beside them: leakage, lengths and balance

Only ``steps`` imports Beam.  Each folder uses only those below it:

    dataset         the folder that ``load_from_disk`` reads: shards, card, publication
    report          the HTML page
    quality         row statistics, balance, gates, summary
    chat            templates and texts: ``arrow_renderer``, or ``jinja_renderer`` in a ``sandbox``;
                    control tokens, token limit, output columns
    duplicates      content hashes; exact and near duplicates
    leakage         prompts near those of validation, text of benchmarks
    conversations   ``column_roles`` (what names say), ``detect_pairs`` and ``detect_turns`` (which
                    columns), ``field_mapping``, ``pairs``, ``parse_turns``, ``rules`` (which
                    rows can be trained on); ``normalize_rows`` applies them
    formats         one reader per format; ``source_reader`` is the entry
    storage         where a set is written and read: local or S3, the manifest
    text            arrays of text: hashes, n-grams, normal form of keys

The ground files, which import no folder: ``errors``, ``records`` (what travels, and every column of
a batch), ``options``, ``split``, ``work_units``.

Nothing here imports ``pipeline``, the application that composes these parts.
"""
