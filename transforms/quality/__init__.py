"""What is measured of a set, and the limits that it must meet.

row_stats   counts of a unit's rows: lengths, source files, values of columns
lengths     how often each length occurs; quantiles and histograms
balance     does validation resemble train?
summary     all parts as the manifest's ``quality``
gates       limits that a set must meet to be published
"""
