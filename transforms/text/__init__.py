"""Arrays of text: hashing, normalisation, n-grams and an index of hashes; no rule of the job."""
