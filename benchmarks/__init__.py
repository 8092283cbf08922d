"""What is measured beyond `specdec bench`: each module is a command, `python -m benchmarks.<name> --help`."""
