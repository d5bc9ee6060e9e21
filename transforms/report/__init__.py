"""The report: one HTML page that tells a set's quality, made from its manifest and some rows.

figures       what stands on the page: numbers with their place in the manifest, tables, histograms
told          reads a manifest, also a foreign one, part by part
headline      the five numbers that matter, for page, card and console
rows          sections: what was read, splits, duplicates, leakage, contamination, balance
lengths       section: how long texts are
origin        sections: source, columns, provenance, how to load the set
samples       reads rows and rejects back from the set's files
page          all of it through ``report.jinja``

The page holds nothing that differs between two runs of a plan: it is a file of the set.
"""
