"""Beat classification: each heart beat of a recording, by the classes of EC57."""
