"""Classes of irregular series: their task, batches, networks, and classifiers in closed form."""
