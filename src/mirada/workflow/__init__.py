"""The order of the stages: what the command line and the library call."""
