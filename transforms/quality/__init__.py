"""What is known of a set's quality, and what is done about it.

Transforms, in the data's way:

    survey          a first pass: which rows are copies, which validation prompts to look for
    decontaminate   rows that hold a piece of a benchmark are counted or rejected
    find_leaks      rows that are kept tell which validation prompts are nearly theirs
    measure         what the units' records count becomes the manifest's figures

Rules under them:

    rules           what was asked for: part of the plan
    words           texts as arrays of hashed words, and of word n-grams
    content         when two rows say the same; duplicates, minhash: which of them stays
    leakage         prompts that are nearly the same; validation_prompts, asked
    overlap         pieces of a benchmark
    tokens, limit   how many tokens a text has, and what happens if it has too many
    lengths         exact quantiles; balance: is validation like training?; measured
    gates           what is not published
    figures         all of it as the manifest's ``quality``
"""
