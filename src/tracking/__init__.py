"""Optional loggers beside DVC; none of them can stop a run."""
