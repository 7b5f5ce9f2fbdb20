"""Numbers known at t: expressions, named sets, normalisation."""
