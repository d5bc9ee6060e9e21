"""What is known of a set's quality, and what is done about it.

words         texts as arrays of hashed words, and of word n-grams
duplicates    rows that stand in the source already are left out (near: minhash)
leakage       validation rows whose prompt is nearly a training row's
overlap       rows that hold a piece of a benchmark (decontaminate)
lengths       how long texts are, in characters and tokens (tokens)
balance       is validation like training?
rules         what was asked for: part of the plan
gates         what is not published
figures       all of it as the manifest's "quality"
"""
