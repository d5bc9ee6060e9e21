"""The command line: arguments become a request; console, configuration files, signals."""
