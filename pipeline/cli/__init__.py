"""The command line: words become a request; console, configuration files, signals."""
