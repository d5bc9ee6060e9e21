"""From a plan to a finished set: the graph, runners, clusters, waiting. Start with `graph`."""
