"""The report: one HTML page on the quality of a set, made from its manifest and some rows.

elements         what a page consists of: tables, histograms, numbers with their place
headline         the five most important numbers, for page, card and console
row_sections     sections: rows read, splits, duplicates, leakage, contamination, balance
length_section   section: the lengths of texts
provenance       sections: source, columns, provenance, how to load the set
samples          reads rows and rejects back from the files of the set
page             renders all of it with ``report.jinja``

The page holds nothing that differs between two runs of a plan, as it is a file of the set.
"""
